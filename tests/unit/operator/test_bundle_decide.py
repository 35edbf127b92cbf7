"""What a file of a bundle needs and says, as tables."""

import datetime
import json
from typing import Any

import pytest
from bundle_jobs import (
    COMPLETE,
    FAILED,
    MISMATCH,
    REMEMBERED,
    RETRYABLE,
    UNAUTHORIZED,
    WISH,
    a_bundle,
    a_claim,
    a_job,
    a_pod,
    an_orphan,
    decided,
    decision,
    evict,
    job_failed,
    the_wish,
)
from operator_fakes import SHA, file, finish, run, timestamp, verified, wait

from sd_operator import names
from sd_operator.api.bundle import FileStatus
from sd_operator.bundle import decide, jobs
from sd_operator.bundle.observe import Observed
from sd_operator.fetch_client import Progress
from sd_operator.pods import Trouble


@pytest.mark.parametrize(
    ("job", "pods", "state", "reason", "action", "permanent"),
    [
        pytest.param(None, (), "Pending", None, "create", False, id="no Job yet"),
        pytest.param(
            None,
            (run(a_pod(owner="old")),),
            "Pending",
            "WaitingForDeletion",
            "nothing",
            False,
            id="an earlier pod still writes the file",
        ),
        pytest.param(
            None,
            (finish(a_pod(owner="old"), FAILED, exit_code=2),),
            "Pending",
            None,
            "create",
            False,
            id="an earlier pod has ended",
        ),
        pytest.param(a_job(WISH), (), "Pending", None, "nothing", False, id="the Job has no pod yet"),
        pytest.param(a_job(WISH), (run(a_pod()),), "Fetching", None, "nothing", False, id="the pod runs"),
        pytest.param(
            a_job(WISH),
            (wait(a_pod(), "ImagePullBackOff", "no such image"),),
            "Pending",
            "ImagePullBackOff",
            "nothing",
            True,
            id="the image cannot be pulled",
        ),
        pytest.param(
            a_job(WISH),
            (wait(a_pod(), "ContainerCreating", ""),),
            "Pending",
            None,
            "nothing",
            False,
            id="the container is being made",
        ),
        pytest.param(
            a_job(WISH),
            (finish(a_pod(), RETRYABLE, exit_code=1),),
            "Fetching",
            "Retrying",
            "nothing",
            False,
            id="between two tries",
        ),
        pytest.param(
            a_job(WISH),
            (finish(a_pod(), RETRYABLE, exit_code=1), run(a_pod("q"))),
            "Fetching",
            "Retrying",
            "nothing",
            False,
            id="during the next try",
        ),
        pytest.param(
            a_job(WISH),
            (finish(a_pod(), FAILED, exit_code=2),),
            "Failed",
            "NotFound",
            "nothing",
            True,
            id="given up for good, before the Job says so",
        ),
        pytest.param(
            an_orphan(WISH),
            (),
            "Pending",
            None,
            "adopt",
            False,
            id="the Job lost its owner",
        ),
        pytest.param(
            an_orphan(
                WISH, annotations={names.ANNOTATION_CLAIM_UID: "claim-uid", names.ANNOTATION_APPLIED: "old"}
            ),
            (),
            "Pending",
            "JobReplaced",
            "replace",
            False,
            id="the Job lost its owner and is of yesterday's settings",
        ),
        pytest.param(
            an_orphan(WISH, labels={}),
            (),
            "Pending",
            "WaitingForDeletion",
            "nothing",
            False,
            id="a stranger's Job without owner",
        ),
        pytest.param(
            a_job(WISH, COMPLETE),
            (finish(a_pod(), verified("base.safetensors")),),
            "Verified",
            None,
            "nothing",
            False,
            id="done",
        ),
        pytest.param(
            a_job(WISH, COMPLETE),
            (),
            "Pending",
            "VerdictLost",
            "replace",
            False,
            id="done, but the verdict is lost",
        ),
        pytest.param(
            a_job(WISH, COMPLETE),
            (finish(a_pod(), "hello"),),
            "Failed",
            "NoVerdict",
            "nothing",
            True,
            id="done by a fetcher of another make",
        ),
        pytest.param(
            a_job(WISH, job_failed()),
            (finish(a_pod(), FAILED, exit_code=2),),
            "Failed",
            "NotFound",
            "nothing",
            True,
            id="given up for good",
        ),
        pytest.param(
            a_job(WISH, job_failed()),
            (finish(a_pod(), RETRYABLE, exit_code=1),),
            "Failed",
            "Timeout",
            "nothing",
            False,
            id="given up for now",
        ),
        pytest.param(
            a_job(WISH, job_failed(ago=61)),
            (finish(a_pod(), RETRYABLE, exit_code=1),),
            "Failed",
            "Timeout",
            "replace",
            False,
            id="given up a minute ago",
        ),
        pytest.param(
            a_job(WISH, job_failed()),
            (finish(a_pod(), UNAUTHORIZED, exit_code=2),),
            "Failed",
            "Unauthorized",
            "nothing",
            True,
            id="not let in",
        ),
        pytest.param(
            a_job(WISH, job_failed(ago=61)),
            (finish(a_pod(), UNAUTHORIZED, exit_code=2),),
            "Failed",
            "Unauthorized",
            "replace",
            True,
            id="not let in a minute ago: the Secret may be another now",
        ),
        pytest.param(
            a_job(WISH),
            (evict(a_pod()),),
            "Fetching",
            "Retrying",
            "nothing",
            False,
            id="put out of its node",
        ),
        pytest.param(
            a_job(WISH, job_failed(ago=700)),
            (finish(a_pod(), MISMATCH, exit_code=2),),
            "Failed",
            "HashMismatch",
            "nothing",
            True,
            id="given up for good ten minutes ago",
        ),
        pytest.param(
            a_job(WISH, job_failed()),
            (),
            "Failed",
            "BackoffLimitExceeded",
            "nothing",
            False,
            id="given up, and the pods are gone",
        ),
        pytest.param(
            a_job(WISH, {**job_failed(), "reason": ""}),
            (),
            "Failed",
            "JobFailed",
            "nothing",
            False,
            id="given up without a word",
        ),
        pytest.param(
            a_job(WISH, job_failed()),
            (finish(a_pod(), "", exit_code=137, reason="OOMKilled"),),
            "Failed",
            "OOMKilled",
            "nothing",
            False,
            id="killed for memory",
        ),
        pytest.param(
            a_job(WISH, ownerReferences=[{"uid": "other", "controller": True}]),
            (),
            "Pending",
            "WaitingForDeletion",
            "nothing",
            False,
            id="the Job of an earlier bundle",
        ),
        pytest.param(
            a_job(WISH, deletionTimestamp=timestamp()),
            (),
            "Pending",
            "WaitingForDeletion",
            "nothing",
            False,
            id="the Job is being deleted",
        ),
        pytest.param(
            a_job(the_wish(a_bundle(), claim_uid="gone"), COMPLETE),
            (finish(a_pod(), verified("x.safetensors")),),
            "Pending",
            "VolumeReplaced",
            "replace",
            False,
            id="done on a volume that is gone",
        ),
        pytest.param(
            a_job(
                WISH, annotations={names.ANNOTATION_CLAIM_UID: "claim-uid", names.ANNOTATION_APPLIED: "old"}
            ),
            (wait(a_pod(), "ImagePullBackOff", "no such image"),),
            "Pending",
            "JobReplaced",
            "replace",
            False,
            id="stuck with yesterday's settings",
        ),
    ],
)
def test_one_file(
    job: dict[str, Any] | None,
    pods: tuple[dict[str, Any], ...],
    state: str,
    reason: str | None,
    action: str,
    permanent: bool,
) -> None:
    decision = decided(job=job, pods=pods)
    assert (decision.status.state, decision.status.reason) == (state, reason)
    assert decision.action.value == action
    assert decision.permanent is permanent


def test_a_verdict_that_was_written_down_outlives_its_pod() -> None:
    of = a_bundle(status={"files": [REMEMBERED.as_manifest()]})
    decision = decided(job=a_job(the_wish(of), COMPLETE), of=of)
    assert decision.status == REMEMBERED
    assert decision.action is decide.Action.NOTHING


def failed(count: int, reason: str = "Unauthorized", **more: Any) -> FileStatus:
    return FileStatus(
        name="base",
        state="Failed",
        reason=reason,
        message="m",
        job=WISH["metadata"]["name"],
        failures=count,
        **more,
    )


def test_a_file_that_is_verified_needs_no_job() -> None:
    of = a_bundle(status={"files": [REMEMBERED.as_manifest()]})
    decision = decided(job=None, of=of)
    assert (decision.status, decision.action) == (REMEMBERED, decide.Action.NOTHING)


def test_on_another_volume_nothing_is_verified() -> None:
    of = a_bundle(
        status={"files": [REMEMBERED.as_manifest()], "volume": {"claimName": "sd15-models", "uid": "another"}}
    )
    assert decided(job=None, of=of).action is decide.Action.CREATE


@pytest.mark.parametrize(("count", "seconds"), [(0, 60), (1, 120), (4, 960), (6, 3600), (1000, 3600)])
def test_each_failure_in_a_row_doubles_the_time_until_the_next_try(count: int, seconds: int) -> None:
    job = a_job(the_wish(a_bundle(), failures=count), job_failed(ago=10))
    decision = decided(job=job, pods=(finish(a_pod(), RETRYABLE, exit_code=1),))
    assert decision.status.failures == count + 1
    retry = datetime.datetime.fromisoformat(str(decision.status.retry_at))
    waits = (retry - datetime.datetime.now(tz=datetime.UTC)).total_seconds()
    assert seconds - 15 < waits < seconds


@pytest.mark.parametrize(("asked", "seconds"), [(10, 60), (7200, 7200), (1e9, 24 * 3600)])
def test_a_source_is_asked_no_earlier_than_it_wants(asked: float, seconds: int) -> None:
    told = {
        "state": "Failed",
        "reason": "RateLimited",
        "message": "m",
        "retryable": True,
        "retryAfter": asked,
    }
    pod = finish(a_pod(), json.dumps(told), exit_code=3)
    decision = decided(job=a_job(WISH, job_failed(ago=10)), pods=(pod,))
    retry = datetime.datetime.fromisoformat(str(decision.status.retry_at))
    waits = (retry - datetime.datetime.now(tz=datetime.UTC)).total_seconds()
    assert seconds - 15 < waits < seconds


def test_the_next_try_knows_of_those_before() -> None:
    of = a_bundle(status={"files": [failed(3).as_manifest()]})
    observed = Observed(bundle=of, now=datetime.datetime.now(tz=datetime.UTC), claim=a_claim())
    assert jobs.failures(observed, of.spec.files[0], None) == 3
    assert decided(job=None, of=of).action is decide.Action.CREATE


@pytest.mark.parametrize("pods", [(), (run(a_pod()),)], ids=["no pod yet", "the pod runs"])
def test_what_failed_is_said_until_the_next_try_knows_better(pods: tuple[dict[str, Any], ...]) -> None:
    before = failed(1, retry_at=timestamp(ago=5))
    of = a_bundle(status={"files": [before.as_manifest()]})
    job = a_job(the_wish(of, failures=1))
    assert decided(job=job, pods=pods, of=of).status == before
    got_on = {job["metadata"]["name"]: Progress(bytes=10)}
    if pods:
        assert decided(job=job, pods=pods, of=of, progress=got_on).status.state == "Fetching"


@pytest.mark.parametrize("reason", ["Lost", "Altered"])
def test_a_damaged_file_is_fetched_again_once_that_is_written_down(reason: str) -> None:
    of = a_bundle(status={"files": [REMEMBERED.as_manifest()]})
    seen = decided(job=a_job(the_wish(of), COMPLETE), of=of, damaged={"base": reason})
    assert (seen.status.state, seen.status.reason, seen.action) == ("Pending", reason, decide.Action.REPLACE)
    assert decided(job=None, of=of, damaged={"base": reason}).action is decide.Action.NOTHING
    told = a_bundle(status={"files": [seen.status.as_manifest()]})
    again = decided(job=None, of=told)
    assert (again.status, again.action) == (seen.status, decide.Action.CREATE)


def test_a_file_beyond_the_parallelism_waits_for_its_turn() -> None:
    of = a_bundle(files=[file("a"), file("b"), file("c")], fetch={"parallelism": 2})
    live = [a_job(the_wish(of)), a_job(the_wish(of), COMPLETE, name="done")]
    observed = Observed(
        bundle=of,
        now=datetime.datetime.now(tz=datetime.UTC),
        jobs={job["metadata"]["name"]: job for job in live},
    )
    assert jobs.free_slots(observed) == 1
    waits = decide.queued(decision("c", "Pending"), 2)
    assert (waits.status.reason, waits.action) == ("Queued", decide.Action.NOTHING)


def test_a_job_is_kept_an_hour_for_its_log() -> None:
    of = a_bundle(status={"files": [REMEMBERED.as_manifest()]})
    name = WISH["metadata"]["name"]
    for ago, gone in ((10, []), (3700, [name])):
        job = a_job(the_wish(of), {**COMPLETE, "lastTransitionTime": timestamp(ago=ago)})
        observed = Observed(bundle=of, now=datetime.datetime.now(tz=datetime.UTC), jobs={name: job})
        obsolete = jobs.obsolete_jobs(observed, frozenset({name}))
        assert [job["metadata"]["name"] for job in obsolete] == gone


def test_a_verdict_of_another_job_is_not_trusted() -> None:
    of = a_bundle(status={"files": [{**REMEMBERED.as_manifest(), "job": "another"}]})
    assert decided(job=a_job(the_wish(of), COMPLETE), of=of).action is decide.Action.REPLACE


def test_a_stuck_pod_is_explained_by_its_events() -> None:
    pod = wait(a_pod(), "ContainerCreating", "")
    warning = Trouble("FailedMount", "p: cannot mount", False)
    decision = decided(job=a_job(WISH), pods=(pod,), warnings={"p-uid": warning})
    assert (decision.status.reason, decision.status.message) == ("FailedMount", "p: cannot mount")


def test_a_verified_file_tells_everything_the_fetcher_told() -> None:
    pod = finish(a_pod(), verified("base.safetensors"))
    assert decided(job=a_job(WISH, COMPLETE), pods=(pod,)).status.as_manifest() == {
        "name": "base",
        "state": "Verified",
        "size": 1000,
        "sha256": SHA,
        "family": "SD15",
        "path": "models/Stable-diffusion/base.safetensors",
        "job": WISH["metadata"]["name"],
    }
