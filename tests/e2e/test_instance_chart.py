"""The chart of an instance alone brings a picture, and through its life keeps the login, the pods, the bundle
and its volume; the chart of curated models keeps its bundles and their volumes.
"""

import base64
import functools
import json
import urllib.request
from collections.abc import Iterator

import pytest
import yaml
from cluster import Cluster, Kube, Manifest
from releases import ROOT, Release, image_values
from shapes import agreement, ask
from sidecars import built_image

CHART, MODELS = ROOT / "charts" / "sd-instance", ROOT / "charts" / "sd-models"
NAME = "pictures"
PROMPT = "a large red circle on a white background"


def values(cluster: Cluster, **more: object) -> Manifest:
    """The demo's checkpoint, which the cluster's hub has."""
    demo: Manifest = yaml.safe_load((CHART / "ci" / "demo-values.yaml").read_text())
    demo["test"]["image"] = image_values(built_image(cluster, "operator"))
    return demo | {"access": {"service": {"type": "NodePort"}}} | more


@pytest.fixture(scope="module")
def release(kube: Kube, cluster: Cluster) -> Iterator[Release]:
    found = Release(cluster, NAME, kube.namespace)
    found.install(CHART, values(cluster))
    yield found
    if found.exists():
        found.uninstall()


def login(kube: Kube) -> tuple[str, str]:
    data = kube.get("secret", f"{NAME}-auth")["data"]
    return tuple(base64.b64decode(data[key]).decode() for key in ("username", "password"))  # type: ignore[return-value]


def picture(kube: Kube, url: str) -> str:
    """Asked for as the notes of the release say."""
    user, password = login(kube)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"{url}/sdapi/v1/txt2img",
        data=json.dumps(ask(PROMPT)).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {token}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return str(json.load(answer)["images"][0])


def kept(kube: Kube) -> Manifest:
    """What must be the same after every change."""
    bundle = kube.get("modelbundle", NAME)
    claim = bundle["status"]["volume"]["claimName"]
    return {
        "bundle": bundle["metadata"]["uid"],
        "volume": kube.get("persistentvolumeclaim", claim)["spec"]["volumeName"],
        "files": [(file["state"], file["sha256"]) for file in bundle["status"]["files"]],
    }


def test_it_brings_a_picture_of_what_was_asked_for(kube: Kube, release: Release) -> None:
    kube.wait_condition("sdinstance", NAME, "Ready", seconds=300)
    with kube.service_url(NAME) as url:
        assert all(agreement([picture(kube, url)], [PROMPT])[0].values())


def test_helm_test_asks_it_for_one(kube: Kube, release: Release) -> None:
    assert "Phase:          Succeeded" in release.run("test", "--timeout", "5m")


def test_an_upgrade_and_its_rollback_keep_login_pods_bundle_and_volume(
    kube: Kube, cluster: Cluster, release: Release
) -> None:
    def now() -> tuple[Manifest, tuple[str, str], set[str]]:
        return kept(kube), login(kube), {pod["metadata"]["uid"] for pod in kube.pods(NAME)}

    before = now()
    changed = values(cluster, options={"CLIP_stop_at_last_layers": 2})
    for change in (functools.partial(release.upgrade, CHART, changed), release.rollback):
        change()
        kube.wait_condition("sdinstance", NAME, "Ready", seconds=120)
        assert now() == before
    assert "CLIP_stop_at_last_layers" not in json.dumps(kube.get("sdinstance", NAME)["spec"])


def test_the_same_release_again_writes_nothing(kube: Kube, cluster: Cluster, release: Release) -> None:
    def versions() -> list[str]:
        objects = (("sdinstance", NAME), ("modelbundle", NAME), ("secret", f"{NAME}-auth"))
        return [kube.get(kind, name)["metadata"]["resourceVersion"] for kind, name in objects]

    before = versions()
    release.upgrade(CHART, values(cluster))
    assert versions() == before


def test_uninstalled_and_installed_again_it_finds_its_models(
    kube: Kube, cluster: Cluster, release: Release
) -> None:
    before = kept(kube)
    release.uninstall()
    kube.wait(lambda: not kube.pods(NAME), "no pod", 120)
    assert NAME not in kube.run("get", "sdinstances", "-o", "name")
    assert kept(kube) == before
    release.install(CHART, values(cluster))
    kube.wait_condition("sdinstance", NAME, "Ready", seconds=240)
    assert kept(kube) == before
    with kube.service_url(NAME) as url:
        assert picture(kube, url)


def test_curated_models_keep_their_bundles_and_volumes(kube: Kube, cluster: Cluster) -> None:
    """What they name is not to be had here: the objects alone are looked at."""
    release = Release(cluster, "models", kube.namespace)
    on: Manifest = {"bundles": {"sd15": {"enabled": True}}, "huggingFaceEndpoint": "http://hub.sd-demo.svc"}
    more = {**on, "bundles": {**on["bundles"], "upscalers": {"enabled": True}}}

    def seen() -> tuple[str, str]:
        bundle = kube.get("modelbundle", "sd15")
        claim = kube.get("persistentvolumeclaim", bundle["status"]["volume"]["claimName"])
        return bundle["metadata"]["uid"], claim["metadata"]["uid"]

    release.install(MODELS, on, wait=False)
    kube.wait(lambda: kube.get("modelbundle", "sd15")["status"]["volume"]["claimName"], "a volume", 60)
    kube.wait(lambda: len(seen()) == 2, "a claim", 60)
    before = seen()
    release.upgrade(MODELS, more, wait=False)
    assert "upscalers" in kube.run("get", "modelbundles", "-o", "name")
    release.rollback(wait=False)
    assert seen() == before
    release.uninstall()
    assert seen() == before
    release.install(MODELS, on, wait=False)
    assert seen() == before
    release.uninstall()


def test_what_cannot_serve_is_refused_by_name(cluster: Cluster, kube: Kube) -> None:
    refused = Release(cluster, "refused", kube.namespace)
    with pytest.raises(AssertionError, match="replicas"):
        refused.install(CHART, values(cluster, replicas="three"))
