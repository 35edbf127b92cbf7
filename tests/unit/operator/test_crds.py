"""The generated CRDs are what the models say, and what a structural schema must be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sd_modelfiles.family import Family
from sd_operator import quantity
from sd_operator.api import crds

FOLDER = Path(__file__).parents[3] / "crds"
DEFINITIONS = crds.definitions()
SCHEMAS = {name: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for name, crd in DEFINITIONS.items()}


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


NODES = [
    pytest.param(node, id=path or "root")
    for schema in SCHEMAS.values()
    for part in ("spec", "status")
    for path, node in nodes(schema["properties"][part], part)
]


def test_the_files_of_the_repository_are_what_the_models_say() -> None:
    assert crds.stale(FOLDER) == [], "run `make crds`"


def test_check_fails_for_a_stale_folder_and_passes_after_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crds.main(["--check", str(tmp_path)]) == 1
    assert "is stale" in capsys.readouterr().err
    assert crds.main([str(tmp_path)]) == 0
    assert crds.main(["--check", str(tmp_path)]) == 0
    name = next(iter(DEFINITIONS))
    (tmp_path / name).write_text("edited by hand")
    assert crds.stale(tmp_path) == [name]


def test_every_family_that_a_header_can_show_can_be_asked_for() -> None:
    spec = DEFINITIONS["sdoperator.dev_modelbundles.yaml"]["spec"]["versions"][0]["schema"]
    asked = spec["openAPIV3Schema"]["properties"]["spec"]["properties"]
    of_file = asked["files"]["items"]["properties"]["family"]
    assert asked["family"]["enum"] == of_file["enum"] == ["Auto", *Family]


@pytest.mark.parametrize("node", NODES)
def test_every_node_is_structural_and_bounded(node: dict[str, Any]) -> None:
    assert not {"$ref", "$defs", "title", "const", "oneOf"} & node.keys()
    if node.get("x-kubernetes-int-or-string"):
        return
    assert node["type"] in ("object", "array", "string", "integer", "boolean")
    if node["type"] == "string":
        assert "maxLength" in node or "enum" in node
    if node["type"] == "array":
        assert "maxItems" in node
        assert node["x-kubernetes-list-type"] in ("map", "set", "atomic")
    if "additionalProperties" in node:
        assert "maxProperties" in node
    assert node.get("default", 0) is not None


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_tells_what_it_does_and_its_default(name: str) -> None:
    silent, hidden = [], []
    for part in ("spec", "status"):
        for path, node in nodes(SCHEMAS[name]["properties"][part], part):
            required = node.get("required", [])
            for field, child in node.get("properties", {}).items():
                if not child.get("description"):
                    silent.append(f"{path}.{field}")
                described = child.get("description", "")
                plain = child.get("type") in ("string", "integer", "array")
                if part == "spec" and plain and field not in required and "Default: " not in described:
                    hidden.append(f"{path}.{field}")
    assert silent == []
    assert hidden == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_new_object_does_not_count_as_done(name: str) -> None:
    assert SCHEMAS[name]["properties"]["status"]["default"] == {"observedGeneration": -1}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_rule_has_a_sentence_for_people(name: str) -> None:
    rules = [rule for _, node in nodes(SCHEMAS[name]) for rule in node.get("x-kubernetes-validations", ())]
    assert rules
    assert all(len(rule["message"]) > 10 for rule in rules)


def test_an_instance_can_be_scaled() -> None:
    crd = DEFINITIONS["sdoperator.dev_sdinstances.yaml"]
    assert crd["spec"]["versions"][0]["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


def test_the_names_people_type() -> None:
    names = [crd["spec"]["names"] for crd in DEFINITIONS.values()]
    assert [(name["shortNames"], name["categories"]) for name in names] == [
        (["sdmb"], ["sd"]),
        (["sdi"], ["sd"]),
        (["sdp"], ["sd"]),
    ]


def test_a_schema_that_cannot_be_structural_is_refused() -> None:
    with pytest.raises(ValueError, match="no structural form"):
        crds.structural({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {})


def field(kind: str, *path: str) -> dict[str, Any]:
    node: dict[str, Any] = SCHEMAS[f"sdoperator.dev_{kind}.yaml"]
    for name in path:
        node = node["items"] if name == "[]" else node["properties"][name]
    return node


def said(node: dict[str, Any]) -> str:
    return " ".join(rule["rule"] for rule in node.get("x-kubernetes-validations", ()))


def test_an_address_needs_a_host_and_a_revision_stays_in_its_repository() -> None:
    source = ("spec", "files", "[]", "source")
    assert "url(self).getHostname() != ''" in said(field("modelbundles", *source, "http", "url"))
    assert "'..'" in said(field("modelbundles", *source, "huggingFace", "revision"))


def test_a_volume_may_go_back_to_its_size_and_its_modes_have_no_order() -> None:
    storage = field("modelbundles", "spec", "storage")
    assert "size" not in said(storage)
    assert storage["properties"]["accessModes"]["x-kubernetes-list-type"] == "set"


def test_a_secret_for_nobody_is_refused() -> None:
    rule = "self.access.auth == 'Required' || !has(self.access.authSecretRef)"
    assert rule in said(field("sdinstances", "spec"))


def test_what_a_deployment_would_refuse_is_refused_of_a_plugin() -> None:
    resources = said(field("sdplugins", "spec", "resources"))
    assert "quantity(string(self.requests[name])).compareTo" in resources
    assert "int(self.limits[name]) >= 0" in resources and "int(self.requests[name]) >= 0" in resources


@pytest.mark.parametrize(
    ("path", "taken", "refused"),
    [
        (("image",), ["a:1", f"r.example:5000/a/b@sha256:{'0' * 64}"], ["", "has space", "a\nb", "ä"]),
        (("modules", "[]", "matches", "[]"), ["soft edge", "ä"], ["a\nb", "a\x00", "\x7f"]),
    ],
)
def test_texts_of_a_plugin_are_those_that_pods_can_have(
    path: tuple[str, ...], taken: list[str], refused: list[str]
) -> None:
    pattern = field("sdplugins", "spec", *path)["pattern"]
    assert [text for text in taken + refused if re.fullmatch(pattern, text)] == taken


def test_amounts_of_resources_are_checked_when_they_are_written() -> None:
    for name in ("limits", "requests"):
        amount = field("sdinstances", "spec", "resources", name)["additionalProperties"]
        assert amount["x-kubernetes-int-or-string"] is True
        assert amount["pattern"] == quantity.PATTERN
