"""The folder of another tool, already on a claim: imported, fetched from there, and served."""

import yaml
from cluster import Kube
from shapes import agreement, ask, bundle, call, instance, secret
from volumes import in_pod

PROMPT = "a large red circle on a white background"
#: A fetched volume without the operator's own books is a folder of A1111, as far as anyone can tell.
MAKE_OLD = "cd /volume && rm -r .sd-operator && mkdir models/Lora && echo text > models/Lora/notes.txt"
IMPORT = "python -m sd_operator.bundle /volume --claim old-models --name imported 2>/dev/null"


def test_an_imported_folder_serves_the_right_picture(kube: Kube) -> None:
    kube.apply(secret(), bundle("old"))
    kube.wait_condition("modelbundle", "old", "Ready")
    digest = kube.get("modelbundle", "old")["status"]["files"][0]["sha256"]
    kube.run("delete", "modelbundle/old")
    in_pod(kube, "old-models", MAKE_OLD, read_only=False)
    written = in_pod(kube, "old-models", IMPORT)
    (imported,) = yaml.safe_load_all(written)
    (file,) = imported["spec"]["files"]
    assert (file["type"], file["family"], file["sha256"]) == ("Checkpoint", "SD15", digest)
    assert file["source"]["volume"]["claimName"] == "old-models"
    kube.run("apply", "-f", "-", stdin=written)
    kube.wait_condition("modelbundle", "imported", "Ready")
    assert kube.get("modelbundle", "imported")["status"]["files"][0]["sha256"] == digest
    checkpoint = {"bundle": "imported", "file": file["name"]}
    kube.apply(instance("imported", models=[{"name": "imported"}], checkpoint=checkpoint))
    kube.wait_condition("sdinstance", "imported", "Ready", seconds=300)
    with kube.service_url("imported") as url:
        answer = call(url, "/sdapi/v1/txt2img", ask(PROMPT))
    (seen,) = agreement(answer["images"], [PROMPT])
    assert all(seen.values()), seen
