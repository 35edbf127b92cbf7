"""Charts of plugins through their lives, from an older version on: the SDPlugin stays one object, and an
instance that uses it serves all along. The release before had no such charts, so the older version is
this one's files under another number.
"""

import pathlib
from collections.abc import Iterator

import pytest
from cluster import Cluster, Kube, Manifest
from load import Load
from releases import ROOT, Release, helm, image_values
from shapes import ask, bundle, instance, secret
from sidecars import built_image

#: By chart: what its SDPlugin is called.
PLUGINS = {
    "basic": "controlnet-basic",
    "openpose": "controlnet-openpose",
    "aux": "controlnet-aux",
    "upscale": "upscale",
}
PROMPT = "a small blue star on a black background"


OLDER = "0.1.9"


def older(cluster: Cluster, chart: str, folder: pathlib.Path) -> pathlib.Path:
    """The chart of a plugin as an older version, packed."""
    of = ROOT / "charts" / f"sd-plugin-{chart}"
    helm(cluster, "package", str(of), "--version", OLDER, "--app-version", OLDER, "-d", str(folder))
    return folder / f"sd-plugin-{chart}-{OLDER}.tgz"


def values(cluster: Cluster, chart: str, memory: str = "1Gi") -> Manifest:
    resources = {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": memory}}
    return {"image": image_values(built_image(cluster, f"plugin-{chart}")), "resources": resources}


@pytest.mark.parametrize("chart", PLUGINS)
def test_the_sdplugin_stays_one_object_until_the_release_goes(
    kube: Kube, cluster: Cluster, tmp_path: pathlib.Path, chart: str
) -> None:
    name = PLUGINS[chart]
    release = Release(cluster, f"life-{chart}", kube.namespace)
    given = values(cluster, chart)
    release.install(older(cluster, chart, tmp_path), given)
    installed = kube.get("sdplugin", name)
    release.upgrade(ROOT / "charts" / f"sd-plugin-{chart}", values(cluster, chart, "2Gi"))
    upgraded = kube.get("sdplugin", name)
    assert upgraded["spec"]["resources"]["limits"]["memory"] == "2Gi"
    versions = [each["metadata"]["labels"]["helm.sh/chart"] for each in (installed, upgraded)]
    assert versions[0] == f"sd-plugin-{chart}-{OLDER}" != versions[1]
    release.rollback()
    back = kube.get("sdplugin", name)
    assert back["spec"] == installed["spec"]
    assert len({each["metadata"]["uid"] for each in (installed, upgraded, back)}) == 1
    release.uninstall()
    assert name not in kube.run("get", "sdplugins", "-o", "name")
    release.install(ROOT / "charts" / f"sd-plugin-{chart}", given)
    assert kube.get("sdplugin", name)["spec"] == installed["spec"]
    release.uninstall()


@pytest.fixture
def release(kube: Kube, cluster: Cluster, tmp_path: pathlib.Path) -> Iterator[Release]:
    found = Release(cluster, "controlnet-basic", kube.namespace)
    found.install(older(cluster, "basic", tmp_path), values(cluster, "basic"))
    yield found
    if found.exists():
        found.uninstall()


@pytest.mark.long
def test_an_instance_serves_while_its_plugin_changes_goes_and_comes(
    kube: Kube, cluster: Cluster, release: Release
) -> None:
    chart = ROOT / "charts" / "sd-plugin-basic"
    kube.apply(bundle(), secret(), instance(plugins=[{"name": "controlnet-basic"}]))
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)
    with kube.service_url("shapes") as url, Load(url, ask(PROMPT, steps=4), clients=1) as load:
        load.wait_answered(2)
        for change in (lambda: release.upgrade(chart, values(cluster, "basic", "2Gi")), release.rollback):
            change()
            wanted = kube.get("sdplugin", "controlnet-basic")["spec"]["resources"]["limits"]["memory"]
            kube.wait(
                lambda wanted=wanted: limits(kube) == {wanted}, "pods with the plugin as it is now", 240
            )
            kube.wait_condition("sdinstance", "shapes", "Ready", seconds=120)
        release.uninstall()
        missing = kube.wait_condition("sdinstance", "shapes", "Ready", status="False", seconds=60)
        assert missing["reason"] == "PluginNotFound"
        load.wait_answered(load.outcome.answered + 3)
        release.install(chart, values(cluster, "basic"))
        kube.wait_condition("sdinstance", "shapes", "Ready", seconds=240)
    assert load.outcome.failed == 0, load.outcome


def limits(kube: Kube) -> set[str]:
    """The memory that the plugin may take in each pod."""
    sidecars = [
        container
        for pod in kube.pods("shapes")
        for container in pod["spec"]["initContainers"]
        if "controlnet-basic" in container["name"]
    ]
    return {each["resources"]["limits"]["memory"] for each in sidecars}
