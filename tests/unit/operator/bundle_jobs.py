"""A bundle, its fetch Job and their pods, as its decisions see them."""

import datetime
from typing import Any

from operator_fakes import SHA, bundle, timestamp

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.bundle import FileStatus, ModelBundle
from sd_operator.bundle import decide, jobs
from sd_operator.bundle.children.job import build_job
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.observe import Observed
from sd_operator.bundle.placement import Placement
from sd_operator.manifests import stamped

SETTINGS = FetchSettings(image="operator:1", image_pull_policy="Never", hf_endpoint="https://hf.example.org")


FAILED = '{"state":"Failed","reason":"NotFound","message":"HTTP 404","retryable":false}'


MISMATCH = '{"state":"Failed","reason":"HashMismatch","message":"another","retryable":false}'


UNAUTHORIZED = '{"state":"Failed","reason":"Unauthorized","message":"HTTP 401","retryable":false}'


RETRYABLE = '{"state":"Failed","reason":"Timeout","message":"no answer","retryable":true}'


def a_bundle(*, status: dict[str, Any] | None = None, **spec: Any) -> ModelBundle:
    manifest = bundle(**spec)
    manifest["metadata"].update(uid="bundle-uid", generation=3)
    manifest["status"] = status or {"observedGeneration": -1}
    return parse(ModelBundle, manifest)


def the_wish(of: ModelBundle, *, claim_uid: str = "claim-uid", failures: int = 0) -> dict[str, Any]:
    return stamped(
        build_job(
            of,
            of.spec.files[0],
            claim_uid=claim_uid,
            exclusive=True,
            placement=Placement(),
            failures=failures,
            token_sha256="token",
            settings=SETTINGS,
        )
    )


def a_claim(**metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "sd15-models",
            "uid": "claim-uid",
            "labels": {names.LABEL_SD_BUNDLE: "sd15"},
            **metadata,
        },
        "status": {"phase": "Bound"},
    }


def a_job(wish: dict[str, Any], *conditions: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {**wish["metadata"], "uid": "job-uid", **metadata},
        "status": {"conditions": list(conditions)},
    }


def an_orphan(wish: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    job = a_job(wish, **metadata)
    del job["metadata"]["ownerReferences"]
    return job


def evict(pod: dict[str, Any]) -> dict[str, Any]:
    pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    return pod


def a_pod(name: str = "p", *, owner: str = "job-uid", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": f"{name}-uid",
            "labels": {names.LABEL_SD_FILE: "base"},
            "ownerReferences": [{"uid": owner, "controller": True}],
            "creationTimestamp": timestamp(),
            **metadata,
        }
    }


COMPLETE = {"type": "Complete", "status": "True"}


def job_failed(*, ago: float = -600.0) -> dict[str, Any]:
    """By default later than any test asks: the tables are made long before the last of them runs."""
    return {
        "type": "Failed",
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit",
        "lastTransitionTime": timestamp(ago=ago),
    }


def decided(
    *,
    job: dict[str, Any] | None,
    pods: tuple[dict[str, Any], ...] = (),
    of: ModelBundle | None = None,
    damaged: dict[str, str] | None = None,
    **more: Any,
) -> decide.FileDecision:
    of = of or a_bundle()
    observed = Observed(
        bundle=of,
        now=datetime.datetime.now(tz=datetime.UTC),
        claim=a_claim(),
        jobs={job["metadata"]["name"]: job} if job else {},
        pods=pods,
        **more,
    )
    before = jobs.failures(observed, of.spec.files[0], job)
    return decide.decide_file(observed, of.spec.files[0], the_wish(of, failures=before), damaged)


WISH = the_wish(a_bundle())


REMEMBERED = FileStatus(name="base", state="Verified", sha256=SHA, path="p", job=WISH["metadata"]["name"])


def decision(
    name: str, state: Any, reason: str | None = None, *, permanent: bool = False
) -> decide.FileDecision:
    status = FileStatus(name=name, state=state, reason=reason, message="a sentence" if reason else None)
    if state == "Failed" and not permanent:
        status = status.model_copy(update={"retry_at": timestamp(ago=-60)})
    return decide.FileDecision(status, stuck=permanent and state == "Pending")
