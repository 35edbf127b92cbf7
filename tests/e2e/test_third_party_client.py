"""A client of A1111's interface that others wrote, unmodified, in its own environment: every call it has."""

import json
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest
from cluster import Cluster, Kube
from conftest import ROOT
from shapes import PASSWORD, USER, serve
from sidecars import catalog_image, plugin, rolled_out

#: Calls whose features are not served: the status that the client is told.
REFUSED = {
    "interrogate": 501,
    "prompt_gen": 404,
    "txt2img roop": 422,
    "txt2img reactor": 422,
    "txt2img adetailer": 422,
    "txt2img sag": 422,
    "txt2img animatediff": 422,
    "txt2img controlnet": 422,
    # The client's name of the pictures is none that sd-webui-controlnet knows.
    "controlnet_detect": 422,
    "InstructPix2Pix": 404,
    "RemBG": 404,
    "Tagger interrogate": 404,
}
#: The client raises KeyError, as the answer is an error and not what it looks for.
ABSENT = {
    "list_prompt_gen_models",
    "ModelKeyword",
}
#: The client gives the error's JSON to its caller.
HANDED_ON = {
    "get_artists",
    "get_artist_categories",
    "SegmentAnything heartbeat",
    "SegmentAnything models",
    "Tagger interrogators",
}
PICTURES = {
    "txt2img": [[64, 64]],
    "txt2img hires": [[128, 128]],
    "txt2img upscaler": [[128, 128]],
    "txt2img batch": [[64, 64]] * 4,
    "img2img": [[64, 64]],
    "img2img inpaint": [[64, 64]],
    "extra_single_image": [[128, 128]],
    "extra_batch_images": [[96, 96]] * 2,
    "custom_post": [[64, 64]],
}


@pytest.fixture(scope="module")
def found(kube: Kube, cluster: Cluster) -> dict[str, Any]:
    """What became of each call."""
    serve(kube)
    kube.apply(plugin("controlnet-basic", catalog_image(cluster, "controlnet-basic")))
    rolled_out(kube, "controlnet-basic")
    python = subprocess.run(
        ["hack/venv", "client"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    with kube.service_url("shapes") as url:
        address = urlsplit(url)
        done = subprocess.run(
            [
                *(python, "tests/e2e/third_party/webuiapi_calls.py"),
                *(str(address.hostname), str(address.port), USER, PASSWORD),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    # The client prints, too.
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_every_call_of_what_is_served_is_answered(found: dict[str, Any]) -> None:
    served = set(found) - set(REFUSED) - ABSENT - HANDED_ON
    raised = {name: found[name] for name in served if "raised" in found[name]}
    print(f"{len(served)} calls answered, {len(found) - len(served)} refused")
    assert not raised
    assert len(served) >= 45


def test_pictures_have_the_sizes_that_were_asked_for(found: dict[str, Any]) -> None:
    assert {name: found[name]["answer"]["images"] for name in PICTURES} == PICTURES
    assert [each["images"] for each in found["asynchronous"]["answer"]] == [
        [[64, 64]],
        [[64, 64]],
        [[128, 128]],
    ]


def test_a_picture_tells_its_making(found: dict[str, Any]) -> None:
    assert found["png_info"]["answer"]["info"].startswith(
        "a large red circle on a white background\nSteps: 4"
    )
    keys = set(found["txt2img"]["answer"]["info"])
    assert {"all_seeds", "infotexts", "sd_model_hash", "job_timestamp", "version"} <= keys


def test_the_lists_are_those_of_this_server(found: dict[str, Any]) -> None:
    names = found["util_get_sampler_names"]["answer"]
    assert {"Euler a", "DPM++ 2M", "UniPC", "LCM"} <= set(names)
    assert found["util_get_current_model"]["answer"] in found["util_get_model_names"]["answer"]
    assert found["get_progress"]["answer"]["progress"] == 0
    assert "canny" in found["controlnet_module_list"]["answer"]


def test_an_option_is_changed_by_sending_all_of_them_back(found: dict[str, Any]) -> None:
    before, after = (found[name]["answer"] for name in ("get_options", "get_options changed"))
    assert before["jpeg_quality"] != 77
    assert after == before | {"jpeg_quality": 77}


def test_what_is_not_served_is_refused_in_words(found: dict[str, Any]) -> None:
    for name, status in REFUSED.items():
        kind, *told = found[name]["raised"]
        assert (kind, told[0]) == ("RuntimeError", str(status)), (name, found[name])
        error = json.loads(told[1])
        assert set(error) == {"error", "detail", "body", "errors"}
        assert error["detail"]
    for name in ABSENT:
        assert found[name]["raised"][0] == "KeyError", (name, found[name])
    for name in HANDED_ON:
        assert set(found[name]["answer"]) == {"error", "detail", "body", "errors"}, (name, found[name])
