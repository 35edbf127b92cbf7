"""Pods may do no more than they need, write only to volumes, and go where those are."""

from pathlib import Path
from typing import Any

import pytest
from instance_wishes import (
    CASES,
    Object,
    container,
    environment,
    of_case,
    one,
    pod,
    template,
)
from pod_security import violations

from sd_operator import names
from sd_operator.instance.children.deployment import SAFE_TO_EVICT

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


# --- security and volumes


@pytest.mark.parametrize("case", CASES)
def test_pods_fit_pod_security_restricted_and_have_no_rights(case: str) -> None:
    found = of_case(case)
    spec = one(found, names.DEPLOYMENT)["spec"]["template"]["spec"]
    account = one(found, names.SERVICEACCOUNT)
    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    containers = (*spec.get("initContainers", ()), *spec["containers"])
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in containers)


@pytest.mark.parametrize(
    "breach",
    [
        {"hostNetwork": True},
        {"securityContext": {}},
        {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
        {"containers": [{"name": "x"}]},
    ],
    ids=str,
)
def test_a_breach_of_pod_security_is_seen(breach: Object) -> None:
    assert violations({**pod(), **breach})


@pytest.mark.parametrize("case", CASES)
def test_every_mount_has_its_volume_and_every_volume_its_mount(case: str) -> None:
    spec = one(of_case(case), names.DEPLOYMENT)["spec"]["template"]["spec"]
    containers = (*spec["containers"], *spec.get("initContainers", ()))
    mounted = [mount["name"] for each in containers for mount in each["volumeMounts"]]
    assert list(dict.fromkeys(mounted)) == [volume["name"] for volume in spec["volumes"]]
    for each in containers:
        assert len({mount["mountPath"] for mount in each["volumeMounts"]}) == len(each["volumeMounts"])


@pytest.mark.parametrize("case", CASES)
def test_what_the_runtime_writes_to_is_writable(case: str) -> None:
    spec = one(of_case(case), names.DEPLOYMENT)["spec"]["template"]["spec"]
    (runtime,) = spec["containers"]
    writable = {mount["mountPath"] for mount in runtime["volumeMounts"] if not mount.get("readOnly")}
    env = {item["name"]: item.get("value", "") for item in runtime["env"]}
    folders = ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "SD_OUTPUT_DIR")
    for folder in folders:
        assert any(Path(env[folder]).is_relative_to(path) for path in writable)


def test_every_bundle_is_mounted_read_only() -> None:
    models = [{"name": "sd15"}, {"name": "m" * 63}]
    mounts = {mount["mountPath"]: mount for mount in container(models=models)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(models=models)["volumes"]}
    for name in ("sd15", "m" * 63):
        mount = mounts[f"/bundles/{name}"]
        assert mount["readOnly"] is True
        assert len(mount["name"]) <= 63
        assert volumes[mount["name"]]["persistentVolumeClaim"] == {"claimName": f"{name}-models"}


def test_the_secret_is_mounted_when_it_is_needed_and_only_then() -> None:
    assert {"name": "auth", "secret": {"secretName": "login", "defaultMode": 0o440}} in pod()["volumes"]
    open_to_all = {"auth": "Disabled", "authSecretRef": {"name": "login"}}
    assert "auth" not in {volume["name"] for volume in pod(access=open_to_all)["volumes"]}
    assert environment(access=open_to_all)["SD_AUTH"] == "disabled"


@pytest.mark.parametrize("case", CASES)
def test_an_autoscaler_may_lose_exactly_what_nobody_misses(case: str) -> None:
    found = one(of_case(case), names.DEPLOYMENT)["spec"]["template"]
    scratch = {volume["name"] for volume in found["spec"]["volumes"] if "emptyDir" in volume}
    assert set(found["metadata"]["annotations"][SAFE_TO_EVICT].split(",")) == scratch - {"outputs"}


def test_a_gpu_comes_with_shared_memory_that_has_a_limit() -> None:
    def shared(**given: Any) -> list[Object]:
        return [volume["emptyDir"] for volume in pod(**given)["volumes"] if volume["name"] == "shm"]

    assert shared(gpu={"backend": "Whole"}) == [{"medium": "Memory", "sizeLimit": "1Gi"}]
    assert shared() == []


# --- one node for a volume that only one node can have


def test_pods_go_where_the_volume_is_in_use_that_one_node_only_can_have() -> None:
    found = template(exclusive={"sd15", "not-mounted"})
    (term,) = found["spec"]["affinity"]["podAffinity"][REQUIRED]
    assert term == {
        "labelSelector": {"matchLabels": {"claim.sdoperator.dev/sd15-models": "true"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    # It matches the pod itself: else the first one would wait for a pod that nobody makes.
    assert term["labelSelector"]["matchLabels"].items() <= found["metadata"]["labels"].items()
    assert PREFERRED not in found["spec"]["affinity"]["podAffinity"]


def test_of_several_such_volumes_each_draws_the_pod_for_itself() -> None:
    models = [{"name": "sd15"}, {"name": "more"}, {"name": "shared"}]
    affinity = pod(models=models, exclusive={"more", "sd15"})["affinity"]["podAffinity"]
    assert len(affinity[REQUIRED]) == 2
    # The scheduler counts pods that match all required terms; one that mounts one volume draws by these.
    assert [each["podAffinityTerm"] for each in affinity[PREFERRED]] == affinity[REQUIRED]


TERM = {"labelSelector": {"matchLabels": {"app": "near"}}, "topologyKey": "kubernetes.io/hostname"}


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{}]}}}, id="nodes"),
        pytest.param({"podAntiAffinity": {REQUIRED: [TERM]}}, id="pods to keep off"),
        pytest.param({"podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": TERM}]}}, id="preferred"),
        pytest.param({"podAffinity": {REQUIRED: [TERM]}}, id="required"),
        pytest.param({"podAffinity": "nonsense"}, id="for the API server to refuse"),
        pytest.param({"podAffinity": {PREFERRED: {"a": 1}}}, id="so"),
    ],
)
def test_the_users_affinity_is_never_lost(given: Object) -> None:
    assert pod(affinity=given)["affinity"] == given
    merged = pod(affinity=given, exclusive={"sd15"})["affinity"]
    for kind, rules in given.items():
        if isinstance(rules, str):
            assert merged[kind] == rules
            continue
        for when, terms in rules.items():
            kept = merged[kind][when]
            assert kept == terms if isinstance(terms, dict) else kept[: len(terms)] == terms


def test_pods_that_the_user_wants_beside_others_can_be_scheduled_at_all() -> None:
    affinity = pod(affinity={"podAffinity": {REQUIRED: [TERM]}}, exclusive={"sd15"})["affinity"][
        "podAffinity"
    ]
    # No pod would match the user's term and ours at once.
    assert affinity[REQUIRED] == [TERM]
    (ours,) = affinity[PREFERRED]
    assert "claim.sdoperator.dev/sd15-models" in ours["podAffinityTerm"]["labelSelector"]["matchLabels"]
