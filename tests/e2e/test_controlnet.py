"""ControlNet over HTTP in the cluster: a plugin of the catalog makes maps, a network obeys them."""

import base64
import io
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from cluster import Cluster, Kube
from PIL import Image
from shapes import ask, bundle, call, image, instance, secret, status_of
from sidecars import detect, told

from demo.draw import control
from demo.judge import edges
from demo.train import controlnet

CANNY = {"repo": "sd-operator/demo-canny", "revision": "main", "path": "demo-canny.safetensors"}
PROMPT = "a large red star on a white background"
OTHER = "a large blue star on a gray background"
PICTURES = 6


@pytest.fixture(scope="module")
def url(kube: Kube) -> Any:
    models = bundle()
    models["spec"]["files"].append({"name": "canny", "type": "ControlNet", "source": {"huggingFace": CANNY}})
    catalog = [{"name": name, "scope": "Catalog"} for name in ("controlnet-basic", "controlnet-openpose")]
    kube.apply(models, secret(), instance(plugins=catalog))
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)
    with kube.service_url("shapes") as found:
        yield found


def unit(picture: str, **fields: Any) -> dict[str, Any]:
    return {
        "enabled": True,
        "module": "canny",
        "model": "demo-canny",
        "image": picture,
        "pixel_perfect": True,
    } | fields


def drawn(url: str, prompt: str, *, seed: int, **fields: Any) -> list[str]:
    """The answer's pictures of a request with one unit."""
    script = {"controlnet": {"args": [unit(**fields)]}}
    answer = call(url, "/sdapi/v1/txt2img", ask(prompt, seed=seed, alwayson_scripts=script))
    return list(answer["images"])


def as_png(pixels: np.ndarray[Any, Any]) -> str:
    """In base64."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def agreement(picture: str, wanted: str) -> float:
    """F1 of a picture's edges against those of another."""
    seen, asked = (np.array(image(each).convert("RGB")) for each in (picture, wanted))
    return edges.agreement(torch.from_numpy(seen).permute(2, 0, 1), torch.from_numpy(control.canny(asked)))


def test_the_model_and_the_modules_are_listed(kube: Kube, url: str) -> None:
    (model,) = call(url, "/controlnet/model_list")["model_list"]
    assert model.startswith("demo-canny [")
    assert {"canny", "openpose_full"} <= set(call(url, "/controlnet/module_list")["module_list"])
    kind = call(url, "/controlnet/control_types")["control_types"]["Canny"]
    assert (kind["default_option"], kind["default_model"]) == ("canny", model)
    assert told(kube, "controlnet-openpose")["ready"]


def test_edges_are_obeyed_as_much_as_the_weight_says(url: str) -> None:
    """Figures turned, shifted and of any size, which prompts without a place do not tell of."""
    figures, shown = controlnet.control_pictures(PICTURES, seed=900_002)
    scores: dict[float, list[float]] = {0.0: [], 0.5: [], 1.0: []}
    for seed, (figure, scene) in enumerate(zip(figures, shown, strict=True)):
        source = as_png(figure.permute(1, 2, 0).numpy())
        for weight, found in scores.items():
            pictures = drawn(url, controlnet.prompt(scene), seed=seed, picture=source, weight=weight)
            found.append(agreement(pictures[0], source))
            if weight:
                assert len(pictures) == 2, "the detected map comes with the picture"
    means = {weight: float(np.mean(found)) for weight, found in scores.items()}
    print(f"F1 of edges by weight: {means}")
    assert means[1.0] >= 0.9
    assert means[0.0] <= 0.6 < means[0.5]


def test_the_answer_tells_what_was_used(url: str) -> None:
    source = call(url, "/sdapi/v1/txt2img", ask(PROMPT))["images"][0]
    told = image(drawn(url, OTHER, seed=1, picture=source)[0]).info["parameters"]
    assert 'ControlNet 0: "Module: canny, Model: demo-canny [' in told


def test_what_is_not_there_is_named(url: str) -> None:
    source = call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=2))["images"][0]
    for fields, words in (({"module": "no_such"}, "no_such"), ({"model": "no-such"}, "no-such")):
        script = {"controlnet": {"args": [unit(source, **fields)]}}
        code, body = status_of(url, "/sdapi/v1/txt2img", ask(OTHER, alwayson_scripts=script))
        assert code == 422 and words in str(body), body


def test_a_pose_is_found_on_a_photograph(url: str) -> None:
    photograph = as_png(skimage.data.astronaut())
    code, answer = detect(url, "openpose_full", photograph, controlnet_processor_res=512)
    assert code == 200, answer
    drawing = np.asarray(image(answer["images"][0]).convert("RGB"))
    coloured = (drawing.max(-1) > 60).mean()
    assert 0.001 < coloured < 0.3
    (person,) = answer["poses"][0]["people"]
    nose = np.asarray(person["pose_keypoints_2d"][:2])
    # Of the astronaut's face in the photograph, in pixels of it or as shares of its sides.
    place = nose / (answer["poses"][0]["canvas_width"] if nose.max() > 1 else 1)
    assert np.abs(place - (0.44, 0.24)).max() < 0.08


def test_other_plugins_are_not_touched_by_the_catalog(kube: Kube, cluster: Cluster) -> None:
    """The objects of the catalog are the operator's namespace's; this namespace has none."""
    assert kube.items("sdplugin") == []
