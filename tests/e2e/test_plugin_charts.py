"""Charts of plugins: each installed by helm on its own, checked by `helm test` with the contract's command,
and used. The weights are real: HED's, converted from a Python package, and Real-ESRGAN's of the demo.
"""

import base64
import io
from typing import Any

import numpy as np
import pytest
import skimage.data
from cluster import Cluster, Kube, Manifest
from PIL import Image
from releases import helm
from shapes import API, ask, bundle, call, image, instance, secret
from sidecars import built_image, detect, told
from volumes import put

from demo.annotators import hed

#: By chart: what its SDPlugin is called.
PLUGINS = {
    "basic": "controlnet-basic",
    "openpose": "controlnet-openpose",
    "aux": "controlnet-aux",
    "upscale": "upscale",
}
MODELS = {"aux": "annotators", "upscale": "upscalers"}
UPSCALER = {
    "repo": "sd-operator/upscalers",
    "revision": "main",
    "path": "realesr-animevideov3-x4.safetensors",
}


@pytest.fixture(scope="module", autouse=True)
def installed(kube: Kube, cluster: Cluster) -> None:
    for chart, name in PLUGINS.items():
        reference, _, tag = built_image(cluster, f"plugin-{chart}").rpartition(":")
        registry, _, repository = reference.partition("/")
        values = {"image.registry": registry, "image.repository": repository, "image.tag": tag}
        # All four beside each other have to find a place on a node of two cores.
        values["resources.requests.cpu"] = "50m"
        if chart in MODELS:
            values["models[0].name"] = MODELS[chart]
        settings = [part for key, value in values.items() for part in ("--set-string", f"{key}={value}")]
        helm(cluster, "install", name, f"charts/sd-plugin-{chart}", "-n", kube.namespace, *settings)


@pytest.mark.parametrize("name", PLUGINS.values())
def test_helm_test_finds_that_the_plugin_keeps_its_contract(kube: Kube, cluster: Cluster, name: str) -> None:
    said = helm(cluster, "test", name, "-n", kube.namespace, "--timeout", "3m")
    assert "Phase:          Succeeded" in said


@pytest.mark.parametrize("chart", PLUGINS)
def test_a_chart_lints_and_refuses_an_unknown_value(cluster: Cluster, chart: str) -> None:
    helm(cluster, "lint", "--strict", f"charts/sd-plugin-{chart}")
    with pytest.raises(AssertionError, match="imagee"):
        helm(cluster, "template", "x", f"charts/sd-plugin-{chart}", "--set", "imagee.tag=typo")


def files(name: str, *entries: Manifest) -> Manifest:
    return {
        "apiVersion": API,
        "kind": "ModelBundle",
        "metadata": {"name": name},
        "spec": {"files": list(entries), "storage": {"size": "1Gi"}},
    }


@pytest.fixture(scope="module")
def url(kube: Kube, installed: None) -> Any:
    kube.apply(claim("weights"))
    put(kube, "weights", hed.NAME, hed.make().read_bytes())
    kube.apply(
        files(
            "annotators",
            {
                "name": "hed",
                "type": "Annotator",
                "source": {"volume": {"claimName": "weights", "path": hed.NAME}},
            },
        ),
        files("upscalers", {"name": "x4", "type": "Upscaler", "source": {"huggingFace": UPSCALER}}),
        bundle(),
        secret(),
        instance(plugins=[{"name": name} for name in PLUGINS.values()]),
    )
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=400)
    with kube.service_url("shapes") as found:
        yield found


def claim(name: str) -> Manifest:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def photograph() -> str:
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_network_with_weights_of_a_bundle_finds_soft_edges(kube: Kube, url: str) -> None:
    modules = {module["name"]: module for module in told(kube, "controlnet-aux")["modules"]}
    assert modules["softedge_hed"]["available"]
    missing = [module for module in modules.values() if not module["available"]]
    assert missing and all(module["reason"] for module in missing)
    code, answer = detect(url, "softedge_hed", photograph(), controlnet_processor_res=256)
    assert code == 200, answer
    drawing = np.asarray(image(answer["images"][0]).convert("L"))
    assert min(drawing.shape) == 256
    assert 0.02 < (drawing > 128).mean() < 0.4


def test_the_upscaler_is_among_the_upscalers_and_enlarges(url: str) -> None:
    (own,) = [each for each in call(url, "/sdapi/v1/upscalers") if "animevideov3" in each["name"].lower()]
    assert own["scale"] == 4
    picture = call(url, "/sdapi/v1/txt2img", ask("a large red circle on a white background"))["images"][0]
    body = {"image": picture, "upscaling_resize": 4, "upscaler_1": own["name"]}
    enlarged = image(call(url, "/sdapi/v1/extra-single-image", body)["image"])
    assert enlarged.size == (256, 256)
    small = np.asarray(enlarged.convert("RGB").resize((64, 64))).astype(int)
    assert np.abs(small - np.asarray(image(picture).convert("RGB")).astype(int)).mean() < 6
