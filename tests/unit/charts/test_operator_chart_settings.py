"""What the operator would end at, its chart refuses; what the chart takes, the operator takes.

The old operator's pod ends before the new one has read its settings, so a wrong one would leave none.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from operator_chart import CHART, NAMESPACE, RELEASE, environment, run
from pydantic import TypeAdapter

from sd_operator.fetch.request import Endpoint
from sd_operator.settings import Settings

Object = dict[str, Any]

L4 = {"name": "l4", "backend": "Whole", "memory": "22Gi"}
SLICE = {"name": "slice", "backend": "MIG", "memory": "9.5Gi", "resource": "nvidia.com/mig-1g.10gb"}
CLAIMED = {"name": "claimed", "backend": "DRA", "memory": "80Gi"}


def profiles(*given: Object) -> Object:
    return {"gpu": {"profiles": list(given)}}


def extra(name: str, value: str | None = None) -> Object:
    return {"extraEnv": [{"name": name} if value is None else {"name": name, "value": value}]}


def refused_networks(*networks: str) -> Object:
    return {"fetch": {"refusedNetworks": list(networks)}}


def settings_of(values: Object) -> dict[str, str]:
    """What the chart would tell the operator of these values if it refused nothing."""
    gpu, found = values.get("gpu", {}), dict[str, str]()
    if "profiles" in gpu:
        found["SDO_GPU_PROFILES"] = json.dumps(gpu["profiles"])
    if "familyMemory" in gpu:
        found["SDO_GPU_FAMILY_MEMORY"] = json.dumps(gpu["familyMemory"])
    if "fetch" in values:
        found["SDO_FETCH_REFUSED_NETWORKS"] = ",".join(values["fetch"]["refusedNetworks"])
    if "global" in values:
        found["SDO_IMAGE_PULL_SECRETS"] = ",".join(
            each["name"] for each in values["global"]["imagePullSecrets"]
        )
    return found | {each["name"]: each.get("value", "") for each in values.get("extraEnv", ())}


def read(monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> Settings:
    """The operator's settings from this environment and nothing of ours."""
    for name in [name for name in os.environ if name.upper().startswith("SDO_")]:
        monkeypatch.delenv(name)
    # Which the pod's own fields tell.
    own = dict.fromkeys(("SDO_NAMESPACE", "SDO_CATALOG_NAMESPACE"), NAMESPACE)
    for name, value in {**told, **own}.items():
        monkeypatch.setenv(name, value)
    return Settings()


def rendered(folder: Path, values: Object) -> tuple[str, str]:
    """The Deployment, or nothing; and why there is none."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = run(
        *("template", RELEASE, str(CHART), "--namespace", NAMESPACE),
        *("--values", str(file), "--show-only", "templates/deployment.yaml"),
    )
    return done.stdout if done.returncode == 0 else "", done.stderr


# The values, and the words by which they are named.
WRONG: list[tuple[Object, str]] = [
    (refused_networks("fd00::1/8"), 'fetch.refusedNetworks[0]: "fd00::1/8"'),
    (refused_networks("10.0.0.0/8", "1:2:3:4:5:6:7:8/64"), 'refusedNetworks[1]: "1:2:3:4:5:6:7:8/64"'),
    (refused_networks("10.0.0.1/040"), "/fetch/refusedNetworks/0"),
    (profiles({**SLICE, "resource": ""}), "/gpu/profiles/0/resource"),
    (profiles({key: SLICE[key] for key in ("name", "backend", "memory")}), "missing property 'resource'"),
    (profiles({**SLICE, "memoryLabel": "a/b"}), "'memoryLabel' not allowed"),
    (profiles({**SLICE, "driver": "a"}), "'driver' not allowed"),
    (profiles({**CLAIMED, "memoryLabel": "a/b"}), "'memoryLabel' not allowed"),
    (profiles({**CLAIMED, "resource": "a/b"}), "'resource' not allowed"),
    (profiles({**L4, "deviceClass": "gpu.nvidia.com"}), "'deviceClass' not allowed"),
    (profiles({**L4, "driver": "gpu.nvidia.com"}), "'driver' not allowed"),
    (profiles({**L4, "memori": "1Gi"}), "'memori' not allowed"),
    (profiles({**L4, "backend": "Half"}), "/gpu/profiles/0/backend"),
    *((profiles({**L4, "memory": memory}), "/gpu/profiles/0/memory") for memory in ("0", "0Gi", "0.00Mi")),
    (profiles({**L4, "memory": f"{'1' * 64}Gi"}), "/gpu/profiles/0/memory"),
    *(
        (profiles({**L4, "resource": resource}), "/gpu/profiles/0/resource")
        for resource in ("/", "a/b/c", "gpu", "nvidia.com/", "NVIDIA.com/gpu", f"{'a' * 314}/gpu")
    ),
    *(
        (profiles({**L4, "memoryLabel": label}), "/gpu/profiles/0/memoryLabel")
        for label in ("no label", "/x", "")
    ),
    (profiles(L4, {**CLAIMED, "deviceClass": "Gpu"}), "/gpu/profiles/1/deviceClass"),
    (profiles({**CLAIMED, "driver": "a b"}), "/gpu/profiles/0/driver"),
    (profiles({**L4, "runtimeClassName": "NVIDIA"}), "/gpu/profiles/0/runtimeClassName"),
    (profiles({**L4, "nodeSelector": {"a b": "c"}}), "'a b' not allowed"),
    (profiles({**L4, "nodeSelector": {"a": "b" * 64}}), "/gpu/profiles/0/nodeSelector/a"),
    (profiles({**L4, "tolerations": [{"keey": "a"}]}), "'keey' not allowed"),
    (profiles({**L4, "name": "L4"}), "/gpu/profiles/0/name"),
    (profiles(L4, CLAIMED, {**SLICE, "name": "l4"}), 'gpu.profiles[2].name: "l4" is used by another profile'),
    ({"gpu": {"familyMemory": {"SD15": "0"}}}, "/gpu/familyMemory/SD15"),
    ({"gpu": {"familyMemory": {"SD15": "much"}}}, "/gpu/familyMemory/SD15"),
    ({"global": {"imagePullSecrets": [{"name": "A_b"}]}}, "/global/imagePullSecrets/0/name"),
    ({"global": {"imagePullSecrets": [{"name": "a..b"}]}}, "/global/imagePullSecrets/0/name"),
    ({"global": {"imagePullSecrets": [{"name": "a" * 254}]}}, "/global/imagePullSecrets/0/name"),
    *(
        (extra("SDO_WORKERS", value), f'extraEnv: SDO_WORKERS is "{value}": a whole number from 1 to 256')
        for value in ("abc", "0", "257", "1000", "-1", "")
    ),
    (extra("SDO_WORKERS"), 'extraEnv: SDO_WORKERS is ""'),
    (extra("sdo_workers", "abc"), 'extraEnv: sdo_workers is "abc"'),
    (extra("SDO_RECHECK_SECONDS", "0.5"), 'extraEnv: SDO_RECHECK_SECONDS is "0.5": seconds, 1 or more'),
    (extra("SDO_AUDIT_SECONDS", "5m"), 'extraEnv: SDO_AUDIT_SECONDS is "5m": seconds, 1 or more'),
    # What the kubelet makes of it is $(NUMBER).
    (extra("SDO_WORKERS", "$$(NUMBER)"), 'extraEnv: SDO_WORKERS is "$$(NUMBER)"'),
    (extra("SDO_WORKERS", "$(NUMBER"), 'extraEnv: SDO_WORKERS is "$(NUMBER"'),
    (extra("SDO_KEY_FILE", "/key"), "extraEnv: SDO_KEY_FILE cannot be beside SDO_KEY_SECRET"),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[json.dumps(values)[:90] for values, _ in WRONG])
def test_what_would_end_the_operator_is_refused_by_its_name(
    values: Object, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, complaint = rendered(tmp_path, values)
    assert not manifest
    assert words in complaint
    with pytest.raises(ValueError):
        read(monkeypatch, {**environment(), **settings_of(values)})


@pytest.mark.parametrize("name", ["sdo_log_level", "Sdo_Gpu_Profiles", "sdo_key_file"])
def test_a_setting_of_the_charts_own_is_refused_in_any_spelling(name: str, tmp_path: Path) -> None:
    """The operator takes whichever of the two spellings it comes upon."""
    manifest, complaint = rendered(tmp_path, extra(name, "INFO"))
    assert not manifest
    assert f"extraEnv: {name} " in complaint


@pytest.mark.parametrize("name", ["a,b", "a b"])
def test_a_name_that_the_operator_would_read_as_two_is_refused(name: str, tmp_path: Path) -> None:
    manifest, complaint = rendered(tmp_path, {"global": {"imagePullSecrets": [{"name": name}]}})
    assert not manifest
    assert "/global/imagePullSecrets/0/name" in complaint


RIGHT: list[Object] = [
    {},
    refused_networks("::/0", "fd00::/8", "1:2:3:4::/64", "2001:DB8:0:8000::/49", "::1/128", "10.64.0.0/10"),
    profiles(L4, SLICE, CLAIMED),
    profiles({**L4, "memory": "0.5"}, {**SLICE, "memory": "10.0Gi"}, {**CLAIMED, "memory": "1M"}),
    profiles({**L4, "resource": "amd.com/gpu", "memoryLabel": "team.example/gpu_memory"}),
    profiles({**L4, "memoryLabel": "Memory", "runtimeClassName": "nvidia.cdi"}),
    profiles({**CLAIMED, "deviceClass": "gpu.example.com", "driver": "gpu.example.com"}),
    profiles({**L4, "nodeSelector": {"kubernetes.io/arch": "amd64", "gpu": ""}}),
    profiles({**L4, "tolerations": [{"key": "a", "operator": "Exists"}, {"tolerationSeconds": 30}]}),
    profiles({**L4, "tolerations": [{"key": "a", "operator": "", "effect": ""}]}),
    {"gpu": {"headroom": "0", "familyMemory": {"SD15": "0.5Gi", "Other": "16Gi"}}},
    {"gpu": {"familyMemory": dict.fromkeys(("SD15", "SD21", "SDXL", "SDXLRefiner"))}},
    {"global": {"imagePullSecrets": [{"name": "mirror"}, {"name": "a.b-c.d"}]}},
    *(extra("SDO_WORKERS", value) for value in ("1", "9", "100", "256")),
    *(extra("SDO_RECHECK_SECONDS", value) for value in ("1", "1.5", "86400")),
    extra("sdo_audit_seconds", "60"),
    extra("HTTPS_PROXY", "http://proxy.example:3128"),
]


@pytest.mark.parametrize("values", RIGHT, ids=[json.dumps(values)[:90] for values in RIGHT])
def test_what_the_chart_takes_the_operator_takes(
    values: Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, complaint = rendered(tmp_path, values)
    assert manifest, complaint
    (container,) = yaml.safe_load(manifest)["spec"]["template"]["spec"]["containers"]
    read(monkeypatch, {each["name"]: each.get("value", "") for each in container["env"]})


def test_a_setting_from_elsewhere_is_left_to_the_operator(tmp_path: Path) -> None:
    source = {"configMapKeyRef": {"name": "tuning", "key": "workers"}}
    manifest, complaint = rendered(tmp_path, {"extraEnv": [{"name": "SDO_WORKERS", "valueFrom": source}]})
    assert manifest, complaint


@pytest.mark.parametrize("value", ["$(NUMBER)", "1$(NUMBER)", "$$$(NUMBER)"])
@pytest.mark.parametrize("name", ["SDO_WORKERS", "SDO_RECHECK_SECONDS"])
def test_what_the_kubelet_puts_into_a_setting_is_left_to_the_operator(
    name: str, value: str, tmp_path: Path
) -> None:
    manifest, complaint = rendered(tmp_path, extra(name, value))
    assert manifest, complaint


def test_taints_of_any_effect_may_be_tolerated(tmp_path: Path) -> None:
    """As the API has it: no effect is every effect, and no operator is Equal."""
    manifest, complaint = rendered(tmp_path, {"tolerations": [{"key": "a", "operator": "", "effect": ""}]})
    assert manifest, complaint


@pytest.mark.parametrize("value", ["huggingFaceEndpoint", "civitaiEndpoint"])
@pytest.mark.parametrize(
    "address",
    [
        *("https://", "https:///x", "http://:80", "http://u:p@h/", "https://u@h", "https://h/?a=b"),
        *("https://a b", "https://h:port", "https://h:8x/", "https://h:65536", "https://h:99999/a"),
        *(
            "https://[",
            "https://[fd00::1",
            "https://fd00::1",
            "https://fd00::1]",
            "https://[]",
            "https://h[1]",
        ),
        *("https://[::1]x", "https://[::1]:port"),
    ],
)
def test_an_endpoint_that_no_file_could_come_from_is_refused(
    value: str, address: str, tmp_path: Path
) -> None:
    manifest, complaint = rendered(tmp_path, {value: address})
    assert not manifest
    assert f"/{value}" in complaint
    # The Job would look for a host "a%20b".
    if address != "https://a b":
        with pytest.raises(ValueError):
            TypeAdapter(Endpoint).validate_python(address)


@pytest.mark.parametrize(
    "address",
    [
        *("http://hub.svc", "https://hub.example:8443/a/b@c/", "http://[fd00::1]:80", "http://h:65535/[a]"),
        *("http://h:1", "http://h:00080/", "http://h:", "http://h:/x", "http://h:59999", "http://h:60000"),
        *("http://h:65499", "http://h:65529", "http://[::ffff:10.0.0.1]", "http://[fe80::1%25eth0]:80/"),
    ],
)
def test_an_endpoint_may_have_a_port_and_a_path(address: str, tmp_path: Path) -> None:
    TypeAdapter(Endpoint).validate_python(address)
    manifest, complaint = rendered(tmp_path, {"huggingFaceEndpoint": address})
    assert manifest, complaint
