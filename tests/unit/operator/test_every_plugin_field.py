"""Every field of SDPlugin.spec does something: its change reaches the pods of an instance that uses it."""

from typing import Any

import pytest
from instance_wishes import a_plugin, template
from schema_leaves import leaves

from sd_operator.api import crds

#: Path of a leaf → the spec before and after its change.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image": ({}, {"image": "another:2"}),
    "kind": ({}, {"kind": "Upscaler"}),
    "modules[].name": ({"modules": [{"name": "hed"}]}, {"modules": [{"name": "canny"}]}),
    "modules[].controlType": (
        {"modules": [{"name": "hed"}]},
        {"modules": [{"name": "hed", "controlType": "SoftEdge"}]},
    ),
    "modules[].matches[]": (
        {"modules": [{"name": "hed", "matches": ["hed"]}]},
        {"modules": [{"name": "hed", "matches": ["hed", "softedge"]}]},
    ),
    "models[].name": ({"models": [{"name": "a"}]}, {"models": [{"name": "b"}]}),
    "resources.limits{}": ({}, {"resources": {"limits": {"memory": "2Gi"}}}),
    "resources.requests{}": ({}, {"resources": {"requests": {"cpu": 1}}}),
}


def test_the_table_has_every_field_of_the_schema_and_no_other() -> None:
    crd = crds.definitions()["sdoperator.dev_sdplugins.yaml"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(leaves(schema["properties"]["spec"])) == set(CHANGES)


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_a_change_reaches_the_pods_and_leaves_no_trace_when_it_is_taken_back(path: str) -> None:
    before, after = ([a_plugin(**spec)] for spec in CHANGES[path])
    assert template(added=after) != template(added=before)
    assert template(added=[a_plugin(**CHANGES[path][0])]) == template(added=before)
