"""A bundle's volume over time: files come, are damaged, leave; the volume is shared, kept, or goes."""

from typing import Any

import pytest
from cluster import ClusterError, Kube, Manifest
from shapes import HUB_FILE, agreement, ask, bundle, call, instance, secret
from volumes import in_pod

CRESCENT = {
    "repo": "sd-operator/demo-crescent",
    "revision": "main",
    "path": "demo-crescent.safetensors",
}
MIDNIGHT = {"repo": "sd-operator/demo-midnight", "revision": "main", "path": "demo-midnight.safetensors"}
PLACE = "/volume/models/Stable-diffusion"
PROMPT = "a large red circle on a white background"


def status(kube: Kube, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kube.get("modelbundle", name)["status"]
    return found


def with_files(name: str, files: list[Manifest], **spec: Any) -> Manifest:
    manifest = bundle(name)
    manifest["spec"] |= {"files": files, **spec}
    return manifest


def checkpoint(name: str, source: Manifest, **more: Any) -> Manifest:
    return {"name": name, "type": "Checkpoint", "source": {"huggingFace": source}, **more}


def claim(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def test_a_file_added_while_an_instance_serves_becomes_usable_without_a_restart(kube: Kube) -> None:
    kube.apply(secret(), bundle("shapes"), instance("hot"))
    kube.wait_condition("sdinstance", "hot", "Ready", seconds=300)
    before = [pod["metadata"]["uid"] for pod in kube.pods("hot")]
    assert kube.get("sdinstance", "hot")["status"]["models"]["files"] == {"desired": 0, "loaded": 0}
    files = [
        checkpoint("base", HUB_FILE),
        checkpoint("second", CRESCENT),
        {"name": "night", "type": "LoRA", "source": {"huggingFace": MIDNIGHT}},
    ]
    kube.apply(with_files("shapes", files))

    def usable() -> bool:
        return kube.get("sdinstance", "hot")["status"]["models"]["files"] == {"desired": 2, "loaded": 2}

    kube.wait(usable, "both new files to be usable", 120)
    kube.wait_condition("modelbundle", "shapes", "Ready")
    told = {file["name"]: file for file in status(kube, "shapes")["files"]}
    assert (told["night"]["type"], told["night"]["family"]) == ("LoRA", "SD15")
    assert told["night"]["rank"] > 0
    assert told["night"]["path"] == "models/Lora/demo-midnight.safetensors"
    kube.apply(instance("hot", checkpoint={"bundle": "shapes", "file": "second"}))
    kube.wait_condition("sdinstance", "hot", "Ready", seconds=120)
    loaded = kube.get("sdinstance", "hot")["status"]["models"]["checkpoint"]
    assert loaded == {"file": "shapes/second", "sha256": told["second"]["sha256"]}
    with kube.service_url("hot") as url:
        answer = call(url, "/sdapi/v1/txt2img", ask(PROMPT))
    (seen,) = agreement(answer["images"], [PROMPT])
    assert all(seen.values()), seen
    assert [pod["metadata"]["uid"] for pod in kube.pods("hot")] == before


def test_a_file_that_left_the_spec_stays_while_it_is_served_and_goes_after(kube: Kube) -> None:
    """Goes on with the instance of the test before: it serves the second checkpoint."""
    kube.apply(with_files("shapes", [checkpoint("base", HUB_FILE)], removeAfter="0s"))

    def leaving() -> Any:
        found = {each["name"]: each for each in status(kube, "shapes").get("leaving", [])}
        return found if found.keys() == {"second"} else None

    found = kube.wait(leaving, "the LoRA to be removed and the checkpoint to stay", 90)
    assert found["second"]["usedBy"] == "hot"
    assert in_pod(kube, "shapes-models", "find /volume/models -type f | sort").split() == [
        f"{PLACE}/demo-crescent.safetensors",
        f"{PLACE}/demo-sd15.safetensors",
    ]
    kube.apply(instance("hot", checkpoint={"bundle": "shapes", "file": "base"}))
    kube.wait_condition("sdinstance", "hot", "Ready", seconds=120)
    kube.wait(lambda: "leaving" not in status(kube, "shapes"), "the checkpoint to be removed", 120)
    assert in_pod(kube, "shapes-models", f"ls {PLACE}").split() == ["demo-sd15.safetensors"]
    told = {event["reason"] for event in kube.items("events") if event["involvedObject"]["name"] == "shapes"}
    assert {"FileVerified", "FileLeft", "FileRemoved"} <= told
    kube.run("delete", "sdinstance/hot")


@pytest.mark.parametrize("damage", ["altered", "lost"])
def test_what_happens_to_a_file_is_noticed_and_mended(kube: Kube, damage: str) -> None:
    name = f"hurt-{damage}"
    kube.apply(bundle(name))
    kube.wait_condition("modelbundle", name, "Ready")
    digest = status(kube, name)["files"][0]["sha256"]
    file = f"{PLACE}/demo-sd15.safetensors"
    commands = {
        # One byte in the middle; the size stays.
        "altered": f"printf X | dd of={file} bs=1 seek=9000000 conv=notrunc status=none",
        "lost": f"rm {file}",
    }
    in_pod(kube, f"{name}-models", commands[damage], read_only=False)
    kube.run("annotate", "modelbundle", name, "sdoperator.dev/verify=now")
    kube.wait(lambda: status(kube, name).get("verification", {}).get("damaged") == 1, "it to be noticed", 90)
    kube.wait_condition("modelbundle", name, "Ready")
    assert status(kube, name)["files"][0]["sha256"] == digest
    assert in_pod(kube, f"{name}-models", f"sha256sum {file}").split()[0] == digest
    told = {event["reason"] for event in kube.items("events") if event["involvedObject"]["name"] == name}
    assert f"File{damage.capitalize()}" in told


def test_two_bundles_share_a_claim_and_store_the_same_bytes_once(kube: Kube) -> None:
    kube.apply(claim("shared"))
    storage = {"existingClaim": "shared"}
    first = [checkpoint("base", HUB_FILE), checkpoint("again", HUB_FILE, fileName="again.safetensors")]
    kube.apply(with_files("one", first, storage=storage))
    kube.apply(with_files("two", [checkpoint("base", HUB_FILE)], storage=storage, removeAfter="0s"))
    for name in ("one", "two"):
        kube.wait_condition("modelbundle", name, "Ready")
    inodes = in_pod(kube, "shared", f"ls -i {PLACE}").split()
    assert inodes[1::2] == ["again.safetensors", "demo-sd15.safetensors"]
    assert inodes[0] == inodes[2], "the same bytes are stored once"
    # What one gives up the other keeps.
    kube.apply(with_files("two", [checkpoint("other", CRESCENT)], storage=storage, removeAfter="0s"))
    kube.wait_condition("modelbundle", "two", "Ready")
    kube.wait(lambda: "leaving" not in status(kube, "two"), "the file to be given up", 90)
    assert "demo-sd15.safetensors" in in_pod(kube, "shared", f"ls {PLACE}").split()
    # Another content for a place that is taken is refused, and its owner named.
    clash = [checkpoint("clash", CRESCENT, fileName="demo-sd15.safetensors")]
    kube.apply(with_files("three", clash, storage=storage))
    stalled = kube.wait_condition("modelbundle", "three", "Stalled")
    assert "PathConflict" in stalled["message"]
    assert "one/base" in stalled["message"]
    kube.run("delete", "modelbundle/three", "modelbundle/two", "modelbundle/one")
    assert kube.get("persistentvolumeclaim", "shared")["status"]["phase"] == "Bound"


def test_a_volume_that_goes_with_its_bundle_waits_for_its_users(kube: Kube) -> None:
    manifest = bundle("going")
    manifest["spec"]["storage"]["reclaimPolicy"] = "Delete"
    kube.apply(secret(), manifest)
    kube.wait_condition("modelbundle", "going", "Ready")
    kube.apply(instance("user", models=[{"name": "going"}], checkpoint={"bundle": "going", "file": "base"}))
    kube.wait_condition("sdinstance", "user", "Ready", seconds=300)
    kube.run("delete", "modelbundle/going", "--wait=false")
    kube.wait(
        lambda: kube.get("modelbundle", "going")["status"]["conditions"][0]["reason"] == "InUse",
        "the user to be named",
        60,
    )
    assert kube.get("persistentvolumeclaim", "going-models")["metadata"].get("deletionTimestamp") is None
    assert kube.condition("sdinstance", "user", "Ready") is not None
    kube.run("delete", "sdinstance/user")
    kube.wait(
        lambda: not kube.run("get", "modelbundles", "-o", "name").count("going"), "the bundle to go", 120
    )
    kube.wait(lambda: not kube.run("get", "pvc", "-o", "name").count("going-models"), "the volume to go", 120)


def test_an_existing_claim_cannot_be_asked_to_go(kube: Kube) -> None:
    with pytest.raises(ClusterError, match="existingClaim is used as it is and never deleted"):
        kube.apply(
            with_files(
                "bad",
                [checkpoint("base", HUB_FILE)],
                storage={"existingClaim": "x", "reclaimPolicy": "Delete"},
            )
        )
