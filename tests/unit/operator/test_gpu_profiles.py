"""The table of GPUs: what may be written, what is said of what may not, and the built-in one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sd_operator.gpu_profiles import (
    TABLE,
    Dra,
    Mig,
    Whole,
    parse_family_memory,
    parse_headroom,
    parse_profiles,
)
from sd_operator.settings import Settings

WHOLE = {"name": "big", "backend": "Whole", "memory": "80Gi"}
MIG = {"name": "slice", "backend": "MIG", "memory": "9.5Gi", "resource": "nvidia.com/mig-1g.10gb"}
DRA = {"name": "claimed", "backend": "DRA", "memory": "80Gi"}


def test_a_profile_says_only_what_differs_from_the_backend_s_usual() -> None:
    assert parse_profiles([WHOLE, MIG, DRA]) == (
        Whole(name="big", backend="Whole", memory="80Gi", resource="nvidia.com/gpu", memory_label=None),
        Mig(name="slice", backend="MIG", memory="9.5Gi", resource="nvidia.com/mig-1g.10gb"),
        Dra(
            name="claimed",
            backend="DRA",
            memory="80Gi",
            device_class="gpu.nvidia.com",
            driver="gpu.nvidia.com",
        ),
    )


def test_fields_are_spelt_as_kubernetes_does() -> None:
    toleration = {
        "key": "gpu",
        "operator": "Equal",
        "value": "a",
        "effect": "NoExecute",
        "tolerationSeconds": 9,
    }
    given = {
        **WHOLE,
        "memoryLabel": "example.org/memory",
        "nodeSelector": {"pool": "a"},
        "tolerations": [toleration],
        "runtimeClassName": "nvidia",
    }
    (profile,) = parse_profiles(json.dumps([given]))
    assert isinstance(profile, Whole)
    assert profile.memory_label == "example.org/memory"
    assert profile.node_selector == {"pool": "a"}
    assert profile.tolerations == (toleration,)
    assert profile.runtime_class_name == "nvidia"
    assert profile.capacity == 80 * 2**30


@pytest.mark.parametrize("given", ["[]", [], ()])
def test_an_empty_table_is_the_built_in_one(given: Any) -> None:
    assert parse_profiles(given) is TABLE


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param("{", r"it must be JSON: .* \(got '\{'\)", id="no JSON"),
        pytest.param('{"name": "a"}', r"it must be a JSON list of profiles \(got", id="no list"),
        pytest.param(["a"], r"\[0\].*'a'", id="an item is no object"),
        pytest.param([{**WHOLE, "backend": "TPU"}], r"'TPU'.*'Whole', 'MIG', 'DRA'", id="unknown backend"),
        pytest.param([{"name": "a", "memory": "1Gi"}], r"\[0\]: .*'backend'", id="no backend"),
        pytest.param(
            [{**WHOLE, "name": "Big_1"}], r"\[0\]\.name: .*'Big_1'", id="a name that is no DNS label"
        ),
        pytest.param([WHOLE, {**MIG, "name": "big"}], "name 'big' is used by 2 profiles", id="a name twice"),
        pytest.param(
            [{**WHOLE, "memory": "8 GB"}],
            r"\[0\]\.memory: it must be a quantity above zero, such as 8Gi \(got '8 GB'\)",
            id="memory that is no quantity",
        ),
        pytest.param([{**DRA, "memory": "0"}], r"\[0\]\.memory: .*\(got '0'\)", id="memory of zero"),
        pytest.param(
            [{k: v for k, v in MIG.items() if k != "memory"}], r"\[0\]\.memory: .*required", id="no memory"
        ),
        pytest.param(
            [{k: v for k, v in MIG.items() if k != "resource"}],
            r"\[0\]\.resource: .*required",
            id="a MIG slice without its resource",
        ),
        pytest.param(
            [{**MIG, "resource": "cpu"}], r"\[0\]\.resource: .*'cpu'", id="a resource that is no extended one"
        ),
        pytest.param(
            [{**WHOLE, "memorylabel": "x"}],
            r"\[0\]\.memorylabel: Extra inputs are not permitted \(got 'x'\)",
            id="a misspelt field",
        ),
        pytest.param(
            [MIG, {**WHOLE, "deviceClass": "gpu.nvidia.com"}],
            r"\[1\]\.deviceClass: Extra inputs .*'gpu\.nvidia\.com'",
            id="a field of another backend",
        ),
        pytest.param(
            [{**DRA, "driver": "x'].memory"}],
            r"\[0\]\.driver: .*x'\]",
            id="a driver that would leave its quotes",
        ),
        pytest.param(
            [{**WHOLE, "tolerations": [{"key": "a"}, {"keys": "a"}]}],
            r"\[0\]\.tolerations\[1\]: keys is no field of a toleration",
            id="a toleration with a field that none has",
        ),
        pytest.param(
            [{**WHOLE, "nodeSelector": {"a": 1}}],
            r"\[0\]\.nodeSelector\.a: .*got 1",
            id="a label that is no text",
        ),
        pytest.param(
            [{**WHOLE, "name": "X"}, {**MIG, "memory": "x"}],
            r"\[0\]\.name: .*; \[1\]\.memory: ",
            id="everything that is wrong is told at once",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_value(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_profiles(given)


@pytest.mark.parametrize(
    ("parse", "given", "words"),
    [
        (parse_headroom, "-1Mi", r"got '-1Mi'"),
        (parse_headroom, "much", r"got 'much'"),
        (parse_family_memory, "[]", r"it must be a JSON object"),
        (parse_family_memory, '{"SDXL": "big"}', r"SDXL: it must be a quantity above zero.*'big'"),
        (parse_family_memory, '{"SDXL": "0"}', r"SDXL: .*'0'"),
        (parse_family_memory, '{"SDXL": 8}', r"SDXL: .*got 8\)"),
    ],
)
def test_what_is_wrong_with_a_need_is_named(parse: Callable[[Any], Any], given: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(given)


def test_settings_come_as_json_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDO_GPU_PROFILES", json.dumps([DRA]))
    monkeypatch.setenv("SDO_GPU_HEADROOM", "0")
    monkeypatch.setenv("SDO_GPU_FAMILY_MEMORY", '{"SDXL": "10Gi"}')
    gpu = Settings(operator_image="o", runtime_image="r", key_file=Path("key")).gpu
    assert [profile.name for profile in gpu.profiles] == ["claimed"]
    assert gpu.headroom == "0"
    assert gpu.family_memory == {"SDXL": "10Gi"}


def test_settings_have_defaults() -> None:
    gpu = Settings(operator_image="o", runtime_image="r", key_file=Path("key")).gpu
    assert gpu.profiles == TABLE
    assert gpu.headroom == "512Mi"
    assert gpu.family_memory == {"SD15": "4Gi", "SD21": "4Gi", "SDXL": "8Gi", "SDXLRefiner": "8Gi"}


@pytest.mark.parametrize("name", ["SDO_GPU_PROFILES", "SDO_GPU_HEADROOM", "SDO_GPU_FAMILY_MEMORY"])
def test_a_wrong_setting_is_one_error_with_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "{oops")
    with pytest.raises(ValidationError) as caught:
        Settings(operator_image="o", runtime_image="r", key_file=Path("key"))
    (detail,) = caught.value.errors()
    assert [f"SDO_{str(part).upper()}" for part in detail["loc"]] == [name]
    assert "oops" in detail["msg"]


def test_the_built_in_table_is_one_that_an_administrator_could_write() -> None:
    written = [profile.model_dump(by_alias=True, exclude_none=True, mode="json") for profile in TABLE]
    assert parse_profiles(json.dumps(written)) == TABLE


@pytest.mark.parametrize(
    "profile", [each for each in TABLE if isinstance(each, Mig)], ids=lambda each: each.name
)
def test_a_built_in_slice_has_less_than_its_name_says(profile: Mig) -> None:
    match = re.fullmatch(r"nvidia\.com/mig-([1-7])g\.(\d+)gb", profile.resource)
    assert match is not None
    said = int(match[2]) * 2**30
    assert 0.82 * said < profile.capacity < said
