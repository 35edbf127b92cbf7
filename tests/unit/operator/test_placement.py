"""Where fetch pods run, so that a volume is made where the instances that mount it can be."""

from typing import Any

import pytest
from operator_fakes import bundle, instance

from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.bundle.placement import kept, place
from sd_operator.claims import PREFERRED
from sd_operator.gpu_profiles import GpuSettings, parse_profiles

GPU = GpuSettings(
    profiles=parse_profiles(
        [
            {
                "name": "a10",
                "backend": "Whole",
                "memory": "24Gi",
                "memoryLabel": "nvidia.com/gpu.memory",
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            }
        ]
    )
)
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}


def a_bundle(**spec: Any) -> ModelBundle:
    manifest = bundle(**spec)
    manifest["metadata"].update(uid="u")
    return parse(ModelBundle, manifest)


def test_without_users_anywhere() -> None:
    found = place(a_bundle(), is_placed=False, users=[], settings=GPU)
    assert (found.node_selector, found.tolerations, found.affinity) == ({}, (), {})


def test_a_volume_that_has_its_place_decides_itself() -> None:
    user = instance(nodeSelector={"zone": "a"})
    found = place(a_bundle(), is_placed=True, users=[user], settings=GPU)
    assert (found.node_selector, found.tolerations, found.affinity) == ({}, (), {})


def test_where_the_only_user_can_be_and_rather_beside_a_gpu() -> None:
    mine = {"key": "team", "operator": "Equal", "value": "art"}
    user = instance(nodeSelector={"zone": "a"}, tolerations=[mine], gpu={"backend": "Auto"})
    found = place(a_bundle(), is_placed=False, users=[user], settings=GPU)
    assert found.node_selector == {"zone": "a"}
    assert found.tolerations == (mine, TOLERATION)
    (term,) = found.affinity["nodeAffinity"][PREFERRED]
    assert [expression["key"] for expression in term["preference"]["matchExpressions"]] == [
        "pool",
        "nvidia.com/gpu.memory",
    ]


def test_an_instance_without_gpu_asks_for_no_gpu_node() -> None:
    found = place(a_bundle(), is_placed=False, users=[instance(gpu={"backend": "None"})], settings=GPU)
    assert (found.tolerations, found.affinity) == ((), {})


def test_of_two_users_only_what_both_ask_for() -> None:
    users = [
        instance(nodeSelector={"zone": "a", "disk": "ssd"}, gpu={"backend": "None"}),
        instance(nodeSelector={"zone": "b", "disk": "ssd"}, gpu={"backend": "None"}),
    ]
    assert place(a_bundle(), is_placed=False, users=users, settings=GPU).node_selector == {"disk": "ssd"}


def test_the_bundles_own_words_come_first() -> None:
    of = a_bundle(fetch={"nodeSelector": {"pool": "fetch"}, "tolerations": []})
    found = place(of, is_placed=False, users=[instance(nodeSelector={"zone": "a"})], settings=GPU)
    assert (found.node_selector, found.tolerations, found.affinity) == ({"pool": "fetch"}, (), {})


@pytest.mark.parametrize(
    "spec", [None, [], {"nodeSelector": 5, "tolerations": "x", "affinity": [], "gpu": 1}]
)
def test_users_that_cannot_be_read_do_no_harm(spec: Any) -> None:
    user = {"metadata": {"name": "odd"}, "spec": spec}
    assert place(a_bundle(), is_placed=False, users=[user], settings=GPU).node_selector == {}


def test_a_pod_that_has_a_node_keeps_its_reasons_for_it() -> None:
    pod = {
        "nodeSelector": {"zone": "a"},
        "tolerations": [TOLERATION],
        "affinity": {"nodeAffinity": {"x": 1}, "podAffinity": {"y": 2}},
    }
    found = kept(a_bundle(), pod)
    assert (found.node_selector, found.tolerations) == ({"zone": "a"}, (TOLERATION,))
    assert found.affinity == {"nodeAffinity": {"x": 1}}
    assert kept(a_bundle(fetch={"nodeSelector": {"pool": "x"}}), pod).node_selector == {"pool": "x"}
