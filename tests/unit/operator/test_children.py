"""The manifests of a bundle's children: whole where they are small, their promises where they are large."""

import json
from typing import Any

import pytest
from operator_fakes import SHA, bundle, file
from pod_security import violations

from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.fetching import job_name, request
from sd_operator.bundle.children.claim import build_claim, size_note, size_to_ask
from sd_operator.bundle.children.job import build_job
from sd_operator.bundle.children.pod import FetchSettings
from sd_operator.bundle.placement import Placement
from sd_operator.fetch import request as fetcher

FETCH = FetchSettings(image="operator:1", image_pull_policy="Never", hf_endpoint="https://hf.example.org")


def a_bundle(**spec: Any) -> ModelBundle:
    manifest = bundle(**spec)
    manifest["metadata"]["uid"] = "bundle-uid"
    return parse(ModelBundle, manifest)


def test_the_claim() -> None:
    assert build_claim(a_bundle(), size="20Gi") == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "sd15-models",
            "namespace": "ns",
            "labels": {
                "app.kubernetes.io/name": "sd-bundle",
                "app.kubernetes.io/instance": "sd15",
                "app.kubernetes.io/managed-by": "sd-operator",
                "app.kubernetes.io/component": "models",
                "sdoperator.dev/bundle": "sd15",
            },
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}},
    }


def a_claim(size: str, capacity: str | None = None) -> dict[str, Any]:
    status = {"capacity": {"storage": capacity}} if capacity else {}
    return {"spec": {"resources": {"requests": {"storage": size}}}, "status": status}


@pytest.mark.parametrize(
    ("wanted", "live", "asked", "noted"),
    [
        pytest.param("20Gi", None, "20Gi", False, id="no claim yet"),
        pytest.param("20Gi", a_claim("10Gi", "10Gi"), "20Gi", False, id="it grows"),
        pytest.param("20Gi", a_claim("30Gi", "30Gi"), "30Gi", True, id="it never shrinks"),
        pytest.param("1024Mi", a_claim("1Gi", "1Gi"), "1024Mi", False, id="in other words"),
        pytest.param("20Gi", a_claim("20Gi", "100Gi"), "20Gi", False, id="it got more than asked for"),
        pytest.param("20Gi", a_claim("40Gi", "10Gi"), "20Gi", False, id="an expansion is taken back"),
        pytest.param("20Gi", a_claim("40Gi", "20Gi"), "40Gi", True, id="what is there cannot be asked again"),
        pytest.param("20Gi", a_claim("30Gi"), "30Gi", True, id="not bound yet"),
    ],
)
def test_the_claim_grows_and_never_shrinks(
    wanted: str, live: dict[str, Any] | None, asked: str, noted: bool
) -> None:
    of = a_bundle(storage={"size": wanted})
    assert size_to_ask(of, live) == asked
    note = size_note(of, asked)
    assert (note is not None and f"spec.storage.size: {wanted}" in note) is noted


def test_a_storage_class_is_asked_for_only_when_named() -> None:
    assert "storageClassName" not in build_claim(a_bundle(), size="20Gi")["spec"]
    named = a_bundle(storage={"storageClassName": "fast", "accessModes": ["ReadWriteMany"]})
    spec = build_claim(named, size="20Gi")["spec"]
    assert (spec["storageClassName"], spec["accessModes"]) == ("fast", ["ReadWriteMany"])


def a_job(of: ModelBundle, **changes: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "claim_uid": "claim-uid",
        "exclusive": "ReadWriteMany" not in of.spec.storage.access_modes,
        "placement": Placement(),
        "failures": 0,
        "token_sha256": "token-digest",
        "settings": FETCH,
        **changes,
    }
    return build_job(of, of.spec.files[0], **wanted)


def test_the_fetch_job() -> None:
    of = a_bundle(files=[file(sha256=SHA.upper())], family="SD15")
    job = a_job(of)
    template = job["spec"]["template"]
    (fetch,) = template["spec"]["containers"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == "bundle-uid"
    assert job["metadata"]["annotations"] == {"sdoperator.dev/claim-uid": "claim-uid"}
    assert job["metadata"]["labels"]["sdoperator.dev/file"] == "base"
    assert job["metadata"]["labels"].items() <= template["metadata"]["labels"].items()
    assert (fetch["image"], fetch["imagePullPolicy"]) == ("operator:1", "Never")
    assert fetch["command"] == ["python", "-m", "sd_operator.fetch"]
    env = {item["name"]: item.get("value") for item in fetch["env"]}
    assert json.loads(env.pop("SD_FETCH_FILE")) == {
        "bundle": "sd15",
        "formatPolicy": "SafetensorsOnly",
        "file": {
            "name": "base",
            "type": "Checkpoint",
            "family": "SD15",
            "sources": [{"http": {"url": "https://models.example.org/base.safetensors"}}],
            "sha256": SHA,
            "fileName": "base.safetensors",
        },
    }
    assert env == {
        "SD_FETCH_ROOT": "/volume",
        "SD_FETCH_PORT": "9091",
        "SD_FETCH_TOKEN_SHA256": "token-digest",
        "SD_FETCH_CONNECTIONS": "4",
        "NODE_ADDRESS": None,
        "SD_FETCH_REFUSED_NETWORKS": "$(NODE_ADDRESS)",
        "HF_ENDPOINT": "https://hf.example.org",
        "CIVITAI_ENDPOINT": "https://civitai.com",
    }
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": "sd15-models"}
    assert (template["spec"]["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 4)
    assert job["spec"]["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize(
    "source",
    [
        {"http": {"url": "https://models.example.org/some%20model.safetensors?x=1"}},
        {"huggingFace": {"repo": "owner/name", "path": "sub/model.safetensors"}},
    ],
    ids=["http", "huggingFace"],
)
def test_the_fetcher_understands_what_it_is_asked(source: dict[str, Any]) -> None:
    of = a_bundle(files=[file(source=source)])
    understood = fetcher.parse(json.dumps(request(of, of.spec.files[0])))
    assert understood.bundle == "sd15"
    assert understood.file.file_name == of.spec.files[0].name_on_volume("SafetensorsOnly")


def test_another_wish_for_a_file_is_another_job() -> None:
    def name(family: str = "Auto", **fields: Any) -> str:
        of = a_bundle(files=[file(**fields)], family=family)
        return job_name(of, of.spec.files[0])

    assert name() == name(fileName="base.safetensors")  # said or implied: the same
    assert len({name(), name(family="SD15"), name(sha256=SHA), name(fileName="x.safetensors")}) == 4
    assert name(sha256=SHA) == name(sha256=SHA.upper())


def template(**spec: Any) -> dict[str, Any]:
    of = a_bundle(**spec)
    job = a_job(of)
    found: dict[str, Any] = job["spec"]["template"]
    return found


def test_a_fetch_goes_to_the_node_that_has_the_volume_where_one_node_only_can_have_it() -> None:
    found = template()
    (term,) = found["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    # It matches the pod itself: else the first fetch would wait for a pod that nobody makes.
    assert term["labelSelector"]["matchLabels"].items() <= found["metadata"]["labels"].items()
    assert list(term["labelSelector"]["matchLabels"]) == ["claim.sdoperator.dev/sd15-models"]


@pytest.mark.parametrize("modes", [["ReadWriteMany"], ["ReadWriteOnce", "ReadWriteMany"]])
def test_a_fetch_goes_anywhere_where_all_nodes_can_have_the_volume(modes: list[str]) -> None:
    found = template(storage={"accessModes": modes})
    assert "affinity" not in found["spec"]
    assert not [label for label in found["metadata"]["labels"] if label.startswith("bundle.")]


def test_fetch_pods_fit_pod_security_restricted_and_have_no_rights() -> None:
    spec = template()["spec"]
    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in spec
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in spec["containers"])
