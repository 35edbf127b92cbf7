"""What a ModelBundle says when a file cannot be had, and that a mended spec is picked up."""

import pytest
from cluster import ClusterError, Kube
from shapes import HUB_FILE, bundle

HUB = "http://hub.sd-demo.svc/sd-operator/demo-sd15/resolve/main/demo-sd15.safetensors"


def test_a_wrong_sha256_is_stalled_and_names_both_and_a_mended_one_is_fetched(kube: Kube) -> None:
    kube.apply(bundle("hash", file={"sha256": "0" * 64}))
    stalled = kube.wait_condition("modelbundle", "hash", "Stalled")
    file = kube.get("modelbundle", "hash")["status"]["files"][0]
    assert file["state"] == "Failed"
    assert file["reason"] == "HashMismatch"
    assert "0" * 64 in file["message"]
    assert "base" in stalled["message"]
    kube.apply(bundle("hash"))
    kube.wait_condition("modelbundle", "hash", "Ready")


def test_a_missing_file_says_where_it_was_looked_for(kube: Kube) -> None:
    kube.apply(bundle("missing", file={"source": {"huggingFace": HUB_FILE | {"path": "absent.safetensors"}}}))
    kube.wait_condition("modelbundle", "missing", "Stalled")
    file = kube.get("modelbundle", "missing")["status"]["files"][0]
    assert file["reason"] == "NotFound"
    assert "absent.safetensors" in file["message"]


def test_the_wrong_family_is_refused(kube: Kube) -> None:
    manifest = bundle("family")
    manifest["spec"]["family"] = "SDXL"
    kube.apply(manifest)
    kube.wait_condition("modelbundle", "family", "Stalled")
    file = kube.get("modelbundle", "family")["status"]["files"][0]
    assert file["reason"] == "FamilyMismatch"
    assert "SDXL" in file["message"]
    assert "SD15" in file["message"]


def test_plain_http_and_several_files_on_one_volume(kube: Kube) -> None:
    manifest = bundle("several", file={"source": {"http": {"url": HUB}}, "fileName": "one.safetensors"})
    manifest["spec"]["files"].append(
        {
            "name": "two",
            "type": "Checkpoint",
            "fileName": "two.safetensors",
            "source": {"huggingFace": HUB_FILE},
        }
    )
    kube.apply(manifest)
    kube.wait_condition("modelbundle", "several", "Ready")
    files = kube.get("modelbundle", "several")["status"]["files"]
    assert sorted(file["path"] for file in files) == [
        "models/Stable-diffusion/one.safetensors",
        "models/Stable-diffusion/two.safetensors",
    ]


REFUSED = {
    "two sources": {"source": {"http": {"url": HUB}, "huggingFace": HUB_FILE}},
    "no source": {"source": {}},
    "an unknown type": {"type": "Painting"},
    "a short sha256": {"sha256": "abc"},
    "a path as file name": {"fileName": "../up.safetensors"},
    "a pickle": {"fileName": "model.ckpt"},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=list(REFUSED))
def test_the_api_server_refuses(kube: Kube, change: dict[str, object]) -> None:
    with pytest.raises(ClusterError, match=r"spec\.files\[0\]|spec: .*fileName must end in \.safetensors"):
        kube.apply(bundle("refused", file=change))


def test_two_files_of_one_name_are_refused(kube: Kube) -> None:
    manifest = bundle("twice")
    manifest["spec"]["files"].append(
        {"name": "other", "type": "Checkpoint", "source": {"huggingFace": HUB_FILE}}
    )
    try:
        kube.apply(manifest)
    except ClusterError as error:
        assert "fileName" in str(error)
    else:
        stalled = kube.wait_condition("modelbundle", "twice", "Stalled")
        assert "demo-sd15.safetensors" in stalled["message"]


def test_a_deleted_claim_goes_and_a_new_one_is_filled(kube: Kube) -> None:
    kube.apply(bundle("lost"))
    kube.wait_condition("modelbundle", "lost", "Ready")
    old = kube.get("persistentvolumeclaim", "lost-models")["metadata"]["uid"]
    kube.run("delete", "persistentvolumeclaim/lost-models", "--wait=false")
    kube.wait(
        lambda: kube.get("persistentvolumeclaim", "lost-models")["metadata"]["uid"] != old, "a new claim", 120
    )
    kube.wait_condition("modelbundle", "lost", "Ready")


def test_a_volume_that_cannot_grow_is_told_and_the_work_goes_on(kube: Kube) -> None:
    kube.apply(bundle("grow"))
    kube.wait_condition("modelbundle", "grow", "Ready")
    manifest = bundle("grow")
    manifest["spec"]["storage"]["size"] = "2Gi"
    manifest["spec"]["files"].append(
        {"name": "two", "type": "Checkpoint", "fileName": "two.safetensors", "source": {"http": {"url": HUB}}}
    )
    kube.apply(manifest)

    def both() -> bool:
        files = kube.get("modelbundle", "grow")["status"]["files"]
        return [file["state"] for file in files] == ["Verified", "Verified"]

    kube.wait(both, "both files to be verified", 120)
    conditions = kube.get("modelbundle", "grow")["status"]["conditions"]
    assert any("spec.storage.size" in condition["message"] for condition in conditions)
    kube.apply(bundle("grow"))
    kube.wait_condition("modelbundle", "grow", "Ready")
