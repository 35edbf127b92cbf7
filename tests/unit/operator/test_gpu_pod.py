"""What a GPU's profile writes into the pod, and the claim that DRA's pods make."""

import copy
from typing import Any

import pytest
from operator_fakes import instance

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.instance import SDInstance
from sd_operator.gpu_profiles import TABLE, parse_profiles
from sd_operator.instance.children import gpu_pod
from sd_operator.instance.gpu import Allocation, Need

MIB = 2**20
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
SMALL = {"name": "small", "backend": "MIG", "resource": "nvidia.com/mig-1g.5gb", "memory": "4.75Gi"}
CARD = {"name": "card", "backend": "Whole", "memory": "24Gi"}

POD: dict[str, Any] = {
    "nodeSelector": {"zone": "a"},
    "containers": [
        {"name": "runtime", "resources": {"requests": {"cpu": "250m"}}},
        {"name": "sidecar"},
    ],
}
TAINT = {"key": "nvidia.com/gpu", "operator": "Exists"}


def an_instance() -> SDInstance:
    manifest = instance()
    manifest["metadata"]["uid"] = "instance-uid"
    return parse(SDInstance, manifest)


def needing(mib: int) -> Need:
    return Need(bytes=mib * MIB, breakdown=(("spec.gpu.memory", mib * MIB),))


def allocation(profile: dict[str, Any]) -> Allocation:
    return Allocation(profile=parse_profiles([profile])[0], need=needing(4608))


def built_in(name: str, mib: int = 4608) -> Allocation:
    profile = next(each for each in TABLE if each.name == name)
    return Allocation(profile=profile, need=needing(mib))


def onto(pod: dict[str, Any], chosen: Allocation, claim_template: str | None = None) -> dict[str, Any]:
    before = copy.deepcopy(pod)
    result = gpu_pod.onto_pod(pod, "runtime", chosen, claim_template)
    assert pod == before, "the given pod is left alone"
    return result


LARGE_ENOUGH = {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["4607"]}
UNTOLD = {"key": "nvidia.com/gpu.memory", "operator": "DoesNotExist"}
OURS = [{"matchExpressions": [LARGE_ENOUGH]}, {"matchExpressions": [UNTOLD]}]


def test_a_pod_with_a_whole_gpu() -> None:
    assert onto(POD, built_in("nvidia-gpu")) == {
        "nodeSelector": {"zone": "a"},
        "containers": [
            {
                "name": "runtime",
                "resources": {"requests": {"cpu": "250m"}, "limits": {"nvidia.com/gpu": 1}},
            },
            {"name": "sidecar"},
        ],
        "affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": OURS}}},
        "tolerations": [TAINT],
    }


def test_a_pod_with_a_slice() -> None:
    assert onto(POD, built_in("nvidia-mig-1g-5gb")) == {
        "nodeSelector": {"zone": "a"},
        "containers": [
            {
                "name": "runtime",
                "resources": {"requests": {"cpu": "250m"}, "limits": {"nvidia.com/mig-1g.5gb": 1}},
            },
            {"name": "sidecar"},
        ],
        "tolerations": [TAINT],
    }


def test_a_pod_with_a_claim() -> None:
    assert onto(POD, built_in("nvidia-dra"), "demo-gpu-1") == {
        "nodeSelector": {"zone": "a"},
        "containers": [
            {
                "name": "runtime",
                "resources": {"requests": {"cpu": "250m"}, "claims": [{"name": "gpu"}]},
            },
            {"name": "sidecar"},
        ],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "demo-gpu-1"}],
        "tolerations": [TAINT],
    }


def test_a_claim_needs_the_name_of_its_template() -> None:
    with pytest.raises(ValueError, match="claim template"):
        gpu_pod.onto_pod(POD, "runtime", built_in("nvidia-dra"), None)


def test_the_limits_of_the_user_stay() -> None:
    pod = {"containers": [{"name": "runtime", "resources": {"limits": {"memory": "8Gi"}}}]}
    (container,) = onto(pod, allocation(SMALL))["containers"]
    assert container["resources"] == {"limits": {"memory": "8Gi", "nvidia.com/mig-1g.5gb": 1}}


WITH_ALL = {
    **SMALL,
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [TAINT, {"key": "spot", "operator": "Exists"}],
    "runtimeClassName": "nvidia",
}


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        pytest.param({}, "nodeSelector", {"pool": "gpu"}, id="the profile's nodes"),
        pytest.param(
            {"nodeSelector": {"zone": "a"}}, "nodeSelector", {"zone": "a", "pool": "gpu"}, id="and the user's"
        ),
        pytest.param({}, "runtimeClassName", "nvidia", id="the profile's runtime class"),
        pytest.param({"runtimeClassName": "kata"}, "runtimeClassName", "kata", id="the user's runtime class"),
        pytest.param({}, "tolerations", WITH_ALL["tolerations"], id="the profile's tolerations"),
        pytest.param(
            {"tolerations": [{"key": "mine"}, TAINT]},
            "tolerations",
            [{"key": "mine"}, TAINT, {"key": "spot", "operator": "Exists"}],
            id="a toleration that the user gave is not repeated",
        ),
    ],
)
def test_what_a_profile_adds_to_the_pod(given: dict[str, Any], field: str, expected: Any) -> None:
    pod = {"containers": [{"name": "runtime"}], **given}
    assert onto(pod, allocation(WITH_ALL))[field] == expected


def test_a_profile_that_says_nothing_adds_nothing_but_the_device() -> None:
    pod = {"containers": [{"name": "runtime"}]}
    limits = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    assert onto(pod, allocation(CARD)) == {"containers": [{"name": "runtime", **limits}]}


ZONE = {"key": "zone", "operator": "In", "values": ["a"]}
DISK = {"key": "disk", "operator": "Exists"}
NODE = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
PREFERRED = [{"weight": 1, "preference": {"matchExpressions": [DISK]}}]


def required(terms: Any) -> dict[str, Any]:
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, required(OURS), id="no affinity"),
        pytest.param(
            {"podAntiAffinity": {"x": []}},
            {"podAntiAffinity": {"x": []}, **required(OURS)},
            id="affinity to pods stays",
        ),
        pytest.param({"nodeAffinity": None}, required(OURS), id="null"),
        pytest.param({"nodeAffinity": {}}, required(OURS), id="empty node affinity"),
        pytest.param({"nodeAffinity": {REQUIRED: {}}}, required(OURS), id="empty requirement"),
        pytest.param(required([]), required(OURS), id="no terms"),
        pytest.param(
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": PREFERRED}},
            {
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": PREFERRED,
                    REQUIRED: {"nodeSelectorTerms": OURS},
                }
            },
            id="preferences stay",
        ),
        pytest.param(
            required([{"matchExpressions": [ZONE]}, {"matchExpressions": [DISK], "matchFields": [NODE]}]),
            required(
                [
                    {"matchExpressions": [ZONE, LARGE_ENOUGH]},
                    {"matchExpressions": [ZONE, UNTOLD]},
                    {"matchExpressions": [DISK, LARGE_ENOUGH], "matchFields": [NODE]},
                    {"matchExpressions": [DISK, UNTOLD], "matchFields": [NODE]},
                ]
            ),
            id="each alternative of the user's, with each of ours",
        ),
        pytest.param(
            required([{"matchFields": [NODE]}]),
            required(
                [
                    {"matchFields": [NODE], "matchExpressions": [LARGE_ENOUGH]},
                    {"matchFields": [NODE], "matchExpressions": [UNTOLD]},
                ]
            ),
            id="a term of fields only",
        ),
        pytest.param(
            required([{}, {"matchExpressions": []}, {"matchExpressions": [ZONE]}]),
            required(
                [
                    {},
                    {"matchExpressions": []},
                    {"matchExpressions": [ZONE, LARGE_ENOUGH]},
                    {"matchExpressions": [ZONE, UNTOLD]},
                ]
            ),
            id="a term that matches no node goes on matching none",
        ),
        pytest.param({"nodeAffinity": "a"}, {"nodeAffinity": "a"}, id="no object: the API server refuses it"),
        pytest.param(
            {"nodeAffinity": {REQUIRED: [1]}}, {"nodeAffinity": {REQUIRED: [1]}}, id="a list for an object"
        ),
        pytest.param(required({"a": 1}), required({"a": 1}), id="an object for the list of terms"),
        pytest.param(required(["a"]), required(["a"]), id="a term that is no object"),
        pytest.param(
            required([{"matchExpressions": "a"}]),
            required([{"matchExpressions": "a"}]),
            id="no list in a term",
        ),
    ],
)
def test_the_user_s_affinity_and_ours_both_hold(given: Any, expected: Any) -> None:
    chosen = allocation({**CARD, "memoryLabel": "nvidia.com/gpu.memory"})
    pod = {"containers": [{"name": "runtime"}], "affinity": given}
    assert onto(pod, chosen)["affinity"] == expected


def test_the_claim_template() -> None:
    found = gpu_pod.build_claim_template(an_instance(), built_in("nvidia-dra", mib=8704))
    spec = {
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "deviceClassName": "gpu.nvidia.com",
                            "allocationMode": "ExactCount",
                            "count": 1,
                            "selectors": [
                                {
                                    "cel": {
                                        "expression": "device.capacity['gpu.nvidia.com'].memory"
                                        ".compareTo(quantity('8704Mi')) >= 0"
                                    }
                                }
                            ],
                        },
                    }
                ]
            }
        }
    }
    assert found == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {
            "name": names.claim_template_name("demo", spec),
            "namespace": "ns",
            "labels": {
                "app.kubernetes.io/name": "sd-instance",
                "app.kubernetes.io/instance": "demo",
                "app.kubernetes.io/managed-by": "sd-operator",
                "app.kubernetes.io/component": "gpu",
                "sdoperator.dev/instance": "demo",
            },
            "ownerReferences": [
                {
                    "apiVersion": "sdoperator.dev/v1alpha1",
                    "kind": "SDInstance",
                    "name": "demo",
                    "uid": "instance-uid",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }


def test_another_need_is_another_claim_template() -> None:
    one, other = (
        gpu_pod.build_claim_template(an_instance(), built_in("nvidia-dra", mib=mib)) for mib in (1, 2)
    )
    assert one["metadata"]["name"] != other["metadata"]["name"]


def test_only_dra_has_a_claim_template() -> None:
    with pytest.raises(ValueError, match="no profile of backend DRA"):
        gpu_pod.build_claim_template(an_instance(), allocation(SMALL))
