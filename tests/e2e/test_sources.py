"""Every kind of source, with its credentials, onto volumes of this cluster, into pictures that are right.

The servers are tests/sources in the namespace sd-sources: shaped like the real ones, and as strict.
"""

import json
import subprocess
from typing import Any

import pytest
from cluster import Cluster, Kube, Manifest
from conftest import ROOT
from shapes import agreement, ask, call, instance, secret
from volumes import in_pod

from tests.sources import credentials

FILES = "http://files.sd-sources.svc"
HUB, CIVITAI, S3 = ("http://hub.sd-sources.svc", "http://civitai.sd-sources.svc", "http://s3.sd-sources.svc")
MODEL = "demo-sd15/demo-sd15.safetensors"
PROMPT = "a large red circle on a white background"

HUGGING_FACE = {"repo": "private/demo-sd15", "path": "demo-sd15.safetensors", "endpoint": HUB}
#: By source: where the checkpoint comes from, and the Secret that lets it out.
SOURCES: dict[str, tuple[Manifest, dict[str, str]]] = {
    "huggingface": (
        {"huggingFace": HUGGING_FACE},
        {"host": "hub.sd-sources.svc", "token": credentials.HUB_TOKEN},
    ),
    "civitai": (
        {"civitai": {"modelVersionId": 102, "endpoint": CIVITAI}},
        {"host": "civitai.sd-sources.svc", "token": credentials.CIVITAI_TOKEN},
    ),
    "http": (
        {"http": {"url": f"{FILES}/files/e2e/{MODEL}?basic=art:s3cret"}},
        {"host": "files.sd-sources.svc", "username": "art", "password": "s3cret"},
    ),
    "s3": (
        {"s3": {"bucket": "models", "key": "demo-sd15.safetensors", "endpoint": S3}},
        {
            "host": "s3.sd-sources.svc",
            "accessKeyId": credentials.S3_ACCESS_KEY_ID,
            "secretAccessKey": credentials.S3_SECRET_ACCESS_KEY,
        },
    ),
}


@pytest.fixture(scope="module", autouse=True)
def servers(cluster: Cluster) -> None:
    done = subprocess.run(
        ["tests/sources/install"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def credential(name: str, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def bundle(name: str, source: Manifest, *, file: Manifest | None = None, **spec: Any) -> Manifest:
    """One checkpoint; each bundle's has a name of its own, as one instance mounts them all."""
    entry = {"name": "base", "type": "Checkpoint", "source": source, "fileName": f"{name}.safetensors"}
    return {
        "apiVersion": "sdoperator.dev/v1alpha1",
        "kind": "ModelBundle",
        "metadata": {"name": name},
        "spec": {"files": [entry | (file or {})], "storage": {"size": "1Gi"}, **spec},
    }


def file_of(kube: Kube, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kube.get("modelbundle", name)["status"]["files"][0]
    return found


def test_a_secret_that_is_wrong_or_missing_is_named(kube: Kube) -> None:
    """They are mended here; what comes of it is seen at the end, as the kubelet takes its time."""
    right = SOURCES["huggingface"][1]
    kube.apply(credential("mended", right | {"token": "hf_wrong"}))
    for name, secret_name in (("mended", "mended"), ("missing", "later")):
        kube.apply(bundle(name, {"huggingFace": HUGGING_FACE}, credentialSecrets=[{"name": secret_name}]))
    stalled = kube.wait_condition("modelbundle", "mended", "Stalled")
    assert "Unauthorized" in stalled["message"]
    assert "mended" in stalled["message"], "the Secret to mend is named"
    assert "hf_wrong" not in json.dumps(kube.get("modelbundle", "mended"))

    def named() -> str | None:
        message: str = kube.condition("modelbundle", "missing", "Ready")["message"]
        return message if "spec.credentialSecrets" in message else None

    assert '"later"' in kube.wait(named, "the missing Secret to be named", 90)
    kube.apply(credential("mended", right), credential("later", right))


def test_every_source_gives_an_instance_the_right_picture(kube: Kube) -> None:
    """The checkpoint is switched from bundle to bundle in one running pod, and each picture is judged."""
    kube.apply(secret())
    for name, (source, data) in SOURCES.items():
        kube.apply(credential(name, data), bundle(name, source, credentialSecrets=[{"name": name}]))
    kube.wait_condition("modelbundle", "http", "Ready")
    copied = {"volume": {"claimName": "http-models", "path": "models/Stable-diffusion/http.safetensors"}}
    kube.apply(bundle("volume", copied))
    names = [*SOURCES, "volume"]
    for name in names:
        kube.wait_condition("modelbundle", name, "Ready")
    models = [{"name": name} for name in names]
    digests = {name: file_of(kube, name)["sha256"] for name in names}
    assert digests["http"] == digests["s3"] == digests["volume"] == digests["huggingface"]
    # Another checkpoint: the fine-tuned one, which draws circles all the same.
    assert digests["civitai"] != digests["http"]
    pods = set()
    for name in names:
        kube.apply(instance("all", models=models, checkpoint={"bundle": name, "file": "base"}))
        kube.wait_condition("sdinstance", "all", "Ready", seconds=300)
        status = kube.get("sdinstance", "all")["status"]
        assert status["models"]["checkpoint"] == {"file": f"{name}/base", "sha256": digests[name]}
        assert status["models"]["files"] == {"desired": 4, "loaded": 4}
        with kube.service_url("all") as url:
            answer = call(url, "/sdapi/v1/txt2img", ask(PROMPT))
        (seen,) = agreement(answer["images"], [PROMPT])
        print(f"{name}: {seen}")
        assert all(seen.values()), name
        pods |= {pod["metadata"]["name"] for pod in kube.pods("all")}
    assert len(pods) == 1
    used = kube.get("modelbundle", "s3")["status"]["usedBy"]
    assert used == ["all"]


def test_civitai_files_come_with_preview_and_trigger_words(kube: Kube) -> None:
    claim = kube.get("persistentvolumeclaim", "civitai-models")
    assert claim["status"]["phase"] == "Bound"
    listing = in_pod(kube, "civitai-models", "ls /volume/models/Stable-diffusion")
    assert listing.split() == ["civitai.civitai.info", "civitai.preview.png", "civitai.safetensors"]
    info = json.loads(
        in_pod(kube, "civitai-models", "cat /volume/models/Stable-diffusion/civitai.civitai.info")
    )
    assert info["trainedWords"] == ["sks", "a large red sks"]


REFUSED = {
    "gated": ({"huggingFace": HUGGING_FACE | {"repo": "gated/demo-sd15"}}, {}, "Forbidden"),
    "link-local": (
        {"http": {"url": f"{FILES}/files/local/{MODEL}?redirect=http://169.254.169.254/latest"}},
        {},
        "AddressRefused",
    ),
    "pickle": (
        {"http": {"url": f"{FILES}/files/evil/made/evil.pt"}},
        {"formatPolicy": "ScanPickle"},
        "PickleUnsafe",
    ),
    "pickle-by-default": (
        {"http": {"url": f"{FILES}/files/evil/made/evil.pt"}},
        {},
        "FormatRefused",
    ),
    "a-gigabyte-of-header": (
        {"http": {"url": f"{FILES}/files/huge/made/huge-header.safetensors"}},
        {},
        "FormatRefused",
    ),
    "overlapping": (
        {"http": {"url": f"{FILES}/files/over/made/overlapping.safetensors"}},
        {},
        "FormatRefused",
    ),
    "login-page": ({"http": {"url": f"{FILES}/files/login/{MODEL}?html=yes"}}, {}, "FormatRefused"),
}


@pytest.fixture(scope="module")
def refused(kube: Kube) -> None:
    for name, (source, spec, _) in REFUSED.items():
        own = {"credentialSecrets": [{"name": "huggingface"}]} if name == "gated" else {}
        kube.apply(bundle(name, source, **spec, **own))


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_and_never_seen(kube: Kube, name: str) -> None:
    _, _, reason = REFUSED[name]
    stalled = kube.wait_condition("modelbundle", name, "Stalled")
    file = file_of(kube, name)
    assert (file["state"], file["reason"]) == ("Failed", reason)
    assert stalled["message"].startswith("spec.files[base]: ")
    events = {
        event["reason"]: event for event in kube.items("events") if event["involvedObject"]["name"] == name
    }
    assert events["FileFailed"]["type"] == "Warning"


def test_tls_needs_the_authority_that_the_spec_names(kube: Kube) -> None:
    proxy = "/api/v1/namespaces/sd-sources/services/files:http/proxy/_ca.pem"
    authority = kube.cluster.run("get", "--raw", proxy)
    source = {"http": {"url": f"https://files.sd-sources.svc/files/tls/{MODEL}"}}
    kube.apply(bundle("tls", source))
    kube.wait_condition("modelbundle", "tls", "Stalled")
    assert file_of(kube, "tls")["reason"] == "TLS"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"}}
    kube.apply({**config, "data": {"ca.crt": authority}})
    kube.apply(bundle("tls", source, fetch={"caBundle": {"name": "authority"}}))
    kube.wait_condition("modelbundle", "tls", "Ready")


def test_a_mirror_gives_what_the_source_has_not(kube: Kube) -> None:
    absent = {"huggingFace": HUGGING_FACE | {"repo": "open/absent"}}
    mirrors = [{"http": {"url": f"{FILES}/files/mirror/{MODEL}"}}]
    kube.apply(bundle("mirrored", absent, file={"mirrors": mirrors}))
    kube.wait_condition("modelbundle", "mirrored", "Ready")
    assert "files.sd-sources.svc" in file_of(kube, "mirrored")["source"]


def test_a_pickle_is_kept_as_safetensors(kube: Kube) -> None:
    source = {"http": {"url": f"{FILES}/files/pickle/demo-blackout/demo-blackout.pt"}}
    kube.apply(bundle("pickled", source, file={"type": "Hypernetwork"}, formatPolicy="ScanPickle"))
    kube.wait_condition("modelbundle", "pickled", "Ready")
    file = file_of(kube, "pickled")
    assert file["path"] == "models/hypernetworks/pickled.safetensors"
    assert file["sourceSha256"] != file["sha256"]


def test_progress_is_told_while_a_file_comes(kube: Kube) -> None:
    source = {"http": {"url": f"{FILES}/files/slow/{MODEL}?rate=2000000"}}
    kube.apply(bundle("slow", source))

    def underway() -> Any:
        progress = kube.get("modelbundle", "slow")["status"].get("progress", {})
        return progress if progress.get("bytesPerSecond") and progress.get("etaSeconds") else None

    told = kube.wait(underway, "progress with a rate and an end", 60)
    print(told)
    assert 0 < told["bytes"] < told["totalBytes"]
    assert 0 < told["percent"] < 100
    assert told["files"] == "0/1"
    line = kube.run("get", "modelbundle", "slow").splitlines()
    assert {"FILES", "PERCENT", "SIZE", "REASON"} <= set(line[0].split())
    kube.wait_condition("modelbundle", "slow", "Ready", seconds=240)
    columns = kube.run("get", "modelbundle", "slow").splitlines()[1].split()
    assert columns[1:5] == ["True", "FilesVerified", "1/1", "100"]


def test_a_mended_secret_and_one_that_came_later_let_their_files_in(kube: Kube) -> None:
    """Nothing was deleted, and nobody asked for another try."""
    for name in ("mended", "missing"):
        kube.wait_condition("modelbundle", name, "Ready", seconds=240)
