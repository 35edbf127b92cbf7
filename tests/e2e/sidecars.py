"""Plugins as the tests apply them, and what an instance says of its own."""

import json
import subprocess
from typing import Any

from cluster import OPERATOR_NAMESPACE, Cluster, Kube, Manifest
from conftest import ROOT
from shapes import API, status_of


def plugin(name: str, image: str, *, kind: str = "Preprocessor", **spec: Any) -> Manifest:
    """An SDPlugin."""
    resources = {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}
    return {
        "apiVersion": API,
        "kind": "SDPlugin",
        "metadata": {"name": name},
        "spec": {"image": image, "kind": kind, "resources": resources} | spec,
    }


def catalog_image(cluster: Cluster, name: str) -> str:
    """The image of a plugin that hack/install has put into the catalog."""
    found = json.loads(cluster.run("-n", OPERATOR_NAMESPACE, "get", "sdplugin", name, "-o", "json"))
    return str(found["spec"]["image"])


def built_image(cluster: Cluster, name: str) -> str:
    """One that hack/install has given to the cluster, by its name in images/build."""
    registry = catalog_image(cluster, "controlnet-basic").partition("/sd-operator/")[0]
    built = (ROOT / "build" / "install" / "images").read_text().split()
    (reference,) = [each for each in built if f"/{name}:" in each]
    return reference.replace("localhost", registry, 1)


def misbehaving_image(cluster: Cluster) -> str:
    """The image of tests/e2e/plugins: what it does depends on what the plugin is called."""
    done = subprocess.run(
        ["tests/e2e/plugins/install"],
        cwd=ROOT,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def use(kube: Kube, *names: str, instance: str = "shapes") -> None:
    """The instance's plugins from now on, of its own namespace."""
    wanted = {"spec": {"plugins": [{"name": name} for name in names]}}
    kube.run("patch", f"sdinstance/{instance}", "--type=merge", "-p", json.dumps(wanted))


def told(kube: Kube, name: str, *, instance: str = "shapes") -> Manifest:
    """What the instance's status says of the plugin; KeyError while it says nothing."""
    plugins = kube.get("sdinstance", instance)["status"].get("plugins", [])
    return {each["name"]: each for each in plugins}[name]


def uids(kube: Kube) -> list[str]:
    """Those of the instance's pods."""
    return [pod["metadata"]["uid"] for pod in kube.pods("shapes")]


def rolled_out(kube: Kube, *names: str) -> None:
    """The instance has these plugins, all of them answer, and the pods without them are gone."""
    use(kube, *names)
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=240)
    assert all(told(kube, name)["ready"] for name in names)
    kube.wait(lambda: len(uids(kube)) == 1, "one pod", 120)


def detect(url: str, module: str, picture: str, **fields: Any) -> tuple[int, Any]:
    """What the preprocessor makes of a picture (base64)."""
    body = {"controlnet_module": module, "controlnet_input_images": [picture]}
    return status_of(url, "/controlnet/detect", body | fields)
