"""What is said of a bundle by its files, the gravest first."""

import datetime

import pytest
from bundle_jobs import (
    a_bundle,
    a_claim,
    decision,
)

from sd_operator.bundle import decide
from sd_operator.bundle.observe import Observed
from sd_operator.bundle.readiness import readiness
from sd_operator.pods import Trouble


@pytest.mark.parametrize(
    ("files", "state", "reason"),
    [
        ([decision("a", "Verified")], "Ready", "FilesVerified"),
        ([decision("a", "Verified"), decision("b", "Fetching")], "Reconciling", "Fetching"),
        ([decision("a", "Pending", "Unschedulable")], "Reconciling", "Unschedulable"),
        ([decision("a", "Pending", "ImagePullBackOff", permanent=True)], "Stalled", "ImagePullBackOff"),
        ([decision("a", "Failed", "Timeout")], "Reconciling", "FetchFailed"),
        (
            [decision("a", "Failed", "Timeout"), decision("b", "Failed", "NotFound", permanent=True)],
            "Stalled",
            "FetchFailed",
        ),
        ([decision("a", "Fetching", "Retrying")], "Reconciling", "Fetching"),
    ],
)
def test_the_gravest_is_said(files: list[decide.FileDecision], state: str, reason: str) -> None:
    observed = Observed(bundle=a_bundle(), now=datetime.datetime.now(tz=datetime.UTC), claim=a_claim())
    said = readiness(observed, files)
    assert (said.state.value, said.reason) == (state, reason)


def test_a_claim_that_is_not_bound_explains_a_waiting_file() -> None:
    observed = Observed(
        bundle=a_bundle(),
        now=datetime.datetime.now(tz=datetime.UTC),
        claim=a_claim(),
        warnings={"claim-uid": Trouble("ProvisioningFailed", "sd15-models: no storage class", False)},
    )
    said = readiness(observed, [decision("a", "Pending")])
    assert (said.reason, said.message) == (
        "ProvisioningFailed",
        "spec.storage.storageClassName: PersistentVolumeClaim sd15-models: no storage class",
    )
