"""The checkpoint and the options of pods that run, changed under load: no new pod, no failed request."""

import copy
from typing import Any

import pytest
from cluster import Kube
from load import Load
from shapes import agreement, ask, bundle, call, instance, secret

CRESCENT = {"repo": "sd-operator/demo-crescent", "revision": "main", "path": "demo-crescent.safetensors"}
#: The second checkpoint draws a shape that the first does not know, when its trigger word is in the prompt.
PROMPT = "a large red circle on a white background"


@pytest.fixture(scope="module", autouse=True)
def served(kube: Kube) -> None:
    both = bundle()
    other = copy.deepcopy(both["spec"]["files"][0])
    both["spec"]["files"].append({**other, "name": "crescent", "source": {"huggingFace": CRESCENT}})
    kube.apply(both, secret(), instance())
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)


def patch(kube: Kube, spec: str) -> None:
    kube.run("patch", "sdinstance/shapes", "--type=merge", "-p", f'{{"spec": {spec}}}')


def pod_uids(kube: Kube) -> list[str]:
    return [pod["metadata"]["uid"] for pod in kube.pods("shapes")]


def checkpoint(url: str) -> Any:
    return call(url, "/sdapi/v1/options")["sd_model_checkpoint"]


def test_another_checkpoint_is_served_by_the_same_pod_and_no_request_fails(kube: Kube) -> None:
    before = pod_uids(kube)
    status = kube.get("sdinstance", "shapes")["status"]["models"]
    assert status["files"] == {"desired": 1, "loaded": 1}
    with kube.service_url("shapes") as url, Load(url, ask(PROMPT, steps=5)) as load:
        load.wait_answered(5)
        patch(kube, '{"checkpoint": {"bundle": "shapes", "file": "crescent"}}')
        kube.wait_condition("sdinstance", "shapes", "Ready", seconds=120)
        assert "crescent" in checkpoint(url)
        load.wait_answered(load.outcome.answered + 5)
        patch(kube, '{"checkpoint": {"bundle": "shapes", "file": "base"}}')
        kube.wait_condition("sdinstance", "shapes", "Ready", seconds=120)
        load.wait_answered(load.outcome.answered + 5)
        assert "demo-sd15" in checkpoint(url)
    print(f"changed twice under load: {load.outcome.answered} answered, {load.outcome.failed} failed")
    assert load.outcome.failed == 0, load.outcome
    assert pod_uids(kube) == before
    digest = kube.get("sdinstance", "shapes")["status"]["models"]["checkpoint"]["sha256"]
    files = {file["name"]: file["sha256"] for file in kube.get("modelbundle", "shapes")["status"]["files"]}
    assert digest == files["base"]


def test_pictures_are_right_after_the_changes(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        answer = call(url, "/sdapi/v1/txt2img", ask(PROMPT))
    assert all(agreement(answer["images"], [PROMPT])[0].values())


def test_options_reach_the_same_pod_and_one_that_is_not_served_is_named(kube: Kube) -> None:
    before = pod_uids(kube)
    patch(kube, '{"options": {"CLIP_stop_at_last_layers": 2}}')
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=60)
    with kube.service_url("shapes") as url:
        assert call(url, "/sdapi/v1/options")["CLIP_stop_at_last_layers"] == 2
        patch(kube, '{"options": {"CLIP_stop_at_last_layers": 2, "no_such_option": 1}}')
        stalled = kube.wait_condition("sdinstance", "shapes", "Stalled", seconds=60)
        assert stalled["reason"] == "OptionRefused"
        assert "spec.options[no_such_option]" in stalled["message"]
        call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=2))
        patch(kube, '{"options": null}')
        kube.wait_condition("sdinstance", "shapes", "Ready", seconds=60)
        assert call(url, "/sdapi/v1/options")["CLIP_stop_at_last_layers"] == 1
    assert pod_uids(kube) == before


def test_a_pod_that_starts_again_needs_no_operator(kube: Kube) -> None:
    """The desired state is a file in the pod: with the operator away, a new pod serves what was asked for."""
    cluster = kube.cluster
    cluster.run("-n", "sd-operator", "scale", "deployment/sd-operator", "--replicas=0")
    try:
        cluster.run("-n", "sd-operator", "wait", "--for=delete", "pod", "--all", "--timeout=60s")
        name = kube.pods("shapes")[0]["metadata"]["name"]
        kube.run("delete", "pod", name, "--grace-period=1")

        def serves() -> bool:
            pods = kube.pods("shapes")
            ready = [
                pod
                for pod in pods
                for condition in pod["status"].get("conditions", [])
                if condition["type"] == "Ready" and condition["status"] == "True"
            ]
            return len(ready) == 1 and ready[0]["metadata"]["name"] != name

        kube.wait(serves, "another pod to be ready", 120)
        with kube.service_url("shapes") as url:
            assert "demo-sd15" in checkpoint(url)
    finally:
        cluster.run("-n", "sd-operator", "scale", "deployment/sd-operator", "--replicas=1")
        cluster.wait_operator()
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=120)
