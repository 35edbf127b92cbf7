"""Every reason that the fetcher gives becomes the file's, with what follows from it."""

import datetime
import json

import pytest
from bundle_jobs import a_bundle, a_claim, a_job, a_pod, decided, job_failed, the_wish
from operator_fakes import finish, timestamp

from sd_operator.api.conditions import State
from sd_operator.api.reasons import Reason
from sd_operator.bundle.observe import Observed
from sd_operator.bundle.readiness import readiness
from sd_operator.fetch import errors as fetcher

#: By reason: whether the fetcher says that it may pass, and whether a person is needed.
FETCHER = {
    "InvalidRequest": (False, True),
    "CredentialInvalid": (False, True),
    "Unauthorized": (False, True),
    "Forbidden": (False, True),
    "NotFound": (False, True),
    "SourceRefused": (False, True),
    "RateLimited": (True, False),
    "ServerError": (True, False),
    "ConnectionFailed": (True, False),
    "Timeout": (True, False),
    "TLS": (False, True),
    "DNS": (False, True),
    "AddressRefused": (False, True),
    "Truncated": (True, False),
    "FormatRefused": (False, True),
    "PickleUnsafe": (False, True),
    "TypeMismatch": (False, True),
    "FamilyMismatch": (False, True),
    "HashMismatch": (False, True),
    "PathConflict": (False, True),
    "NoSpace": (True, False),
    "VolumeError": (False, True),
    "VolumeUnreachable": (True, False),
    "Interrupted": (True, False),
}
#: What a person mends elsewhere than in the spec, and what may pass, is tried again by itself.
TRIED_AGAIN = {reason for reason, (passes, _) in FETCHER.items() if passes} | {
    "CredentialInvalid",
    "Unauthorized",
    "Forbidden",
    "TLS",
    "DNS",
    "NotFound",
    "PathConflict",
    "VolumeError",
}


def test_the_fetcher_and_the_operator_have_the_same_words() -> None:
    words = {value for name, value in vars(fetcher).items() if name.isupper() and isinstance(value, str)}
    assert words == set(FETCHER)
    assert words <= {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", sorted(FETCHER))
def test_what_follows_from_a_reason(reason: str) -> None:
    passes, permanent = FETCHER[reason]
    told = json.dumps({"state": "Failed", "reason": reason, "message": "words", "retryable": passes})
    decision = decided(
        job=a_job(the_wish(a_bundle()), job_failed()),
        pods=(finish(a_pod(), told, exit_code=1 if passes else 2),),
    )
    assert (decision.status.state, decision.status.reason) == ("Failed", reason)
    assert decision.permanent is permanent
    assert (decision.status.retry_at is not None) is (reason in TRIED_AGAIN)
    observed = Observed(bundle=a_bundle(), now=datetime.datetime.now(tz=datetime.UTC), claim=a_claim())
    said = readiness(observed, [decision])
    assert said.state is (State.STALLED if permanent else State.RECONCILING)
    assert said.message.startswith(f"spec.files[base]: {reason}: words")


def test_a_pod_that_was_put_out_tells_of_its_node() -> None:
    pod = a_pod()
    pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    decision = decided(job=a_job(the_wish(a_bundle()), job_failed(ago=1)), pods=(pod,))
    assert decision.status.reason == "Evicted"
    assert "low on memory" in str(decision.status.message)
    assert str(decision.status.retry_at) > timestamp()
