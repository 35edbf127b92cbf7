"""From a custom resource to a picture, through the Service, and back: what deleting leaves."""

import json
import pathlib

import pytest
import yaml
from cluster import Cluster, Kube
from shapes import agreement, ask, call, image, pixels, secret, status_of

from demo.draw import captions, scenes
from demo.judge import reading as judging

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def example(kube: Kube) -> None:
    """examples/demo.yaml as shipped, but for the namespace."""
    for document in yaml.safe_load_all((ROOT / "examples" / "demo.yaml").read_text()):
        document["metadata"].pop("namespace")
        kube.apply(document)
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)


def test_status_tells_what_is_loaded(kube: Kube) -> None:
    file = kube.get("modelbundle", "shapes")["status"]["files"][0]
    status = kube.get("sdinstance", "shapes")["status"]
    assert file["state"] == "Verified"
    assert file["family"] == "SD15"
    assert status["models"]["checkpoint"]["sha256"] == file["sha256"]
    assert status["models"]["loaded"] == status["models"]["desired"] == 1
    assert status["acceleration"]["device"] == "cpu"
    assert status["endpoint"] == f"http://shapes.{kube.namespace}.svc:7860"


def test_pictures_show_what_their_prompts_say(kube: Kube) -> None:
    """Prompts of combinations that the checkpoint never saw in training, judged in every attribute."""
    prompts = [captions.plain(scene) for scene in scenes.HELD_OUT_SINGLES[::24]]
    with kube.service_url("shapes") as url:
        answers = [call(url, "/sdapi/v1/txt2img", ask(prompt)) for prompt in prompts]
    encoded = [answer["images"][0] for answer in answers]
    for picture, prompt, answer in zip(encoded, prompts, answers, strict=True):
        assert pixels(picture).shape == (64, 64, 3)
        parameters = image(picture).info["parameters"]
        assert parameters.startswith(prompt)
        assert "Steps: 20, Sampler: Euler" in parameters
        assert json.loads(answer["info"])["all_seeds"] == [1]
    shares = judging.shares(agreement(encoded, prompts))
    print(f"{len(prompts)} prompts: {shares}")
    assert shares["all"] >= 0.8


def test_the_same_seed_makes_the_same_bytes(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        body = ask("a small blue star on a white background", sampler_name="Euler a", seed=7)
        first, second = (call(url, "/sdapi/v1/txt2img", body)["images"] for _ in range(2))
        assert first == second


def test_no_credentials_no_service(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        for path in ("/sdapi/v1/samplers", "/docs", "/openapi.json", "/sdapi/v1/progress"):
            assert status_of(url, path, auth=False)[0] == 401, path


def test_bad_input_is_named_and_never_a_traceback(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        for fields in (
            {"sampler_name": "No Such"},
            {"steps": 0},
            {"width": 7},
            {"restore_faces": True},
            {"steps": "many"},
        ):
            code, body = status_of(url, "/sdapi/v1/txt2img", ask("a red circle", **fields))
            assert code == 422, fields
            assert next(iter(fields)) in json.dumps(body), fields
            assert "Traceback" not in json.dumps(body)


def test_outputs_are_saved_in_the_pod(kube: Kube, cluster: Cluster) -> None:
    pod = kube.pods("shapes")[0]["metadata"]["name"]
    listing = kube.run(
        "exec", pod, "-c", "runtime", "--", "python", "-c", "import os; print(list(os.walk('/outputs')))"
    )
    assert "txt2img-images" in listing
    assert ".png" in listing


def test_a_changed_password_is_taken_without_a_restart(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        pod = kube.pods("shapes")[0]["metadata"]["uid"]
        changed = secret() | {"stringData": {"username": "demo", "password": "another"}}
        kube.apply(changed)
        kube.wait(
            lambda: status_of(url, "/sdapi/v1/samplers")[0] == 401, "the old password to be refused", 150
        )
        assert kube.pods("shapes")[0]["metadata"]["uid"] == pod
        kube.apply(secret())
        kube.wait(lambda: status_of(url, "/sdapi/v1/samplers")[0] == 200, "the old password to be back", 150)


def test_zz_deleting_leaves_the_volume(kube: Kube) -> None:
    claim = kube.get("modelbundle", "shapes")["status"]["volume"]["claimName"]
    kube.run("delete", "sdinstance/shapes", "modelbundle/shapes", "--timeout=60s")
    kube.wait(lambda: not kube.items("deployments"), "the Deployment to be collected", 60)
    kube.wait(
        lambda: not [s for s in kube.items("services") if s["metadata"]["name"] == "shapes"],
        "the Service to go",
        60,
    )
    kube.wait(lambda: not kube.items("jobs"), "the fetch Jobs to be collected", 60)
    assert kube.get("persistentvolumeclaim", claim)["status"]["phase"] == "Bound"
