"""Pods replaced under constant load: Surge fails no request, Drain loses none that was accepted."""

import threading
import time
import urllib.error

import pytest
from cluster import Kube
from load import Load
from shapes import ask, bundle, call, instance, secret, serve

PROMPT = "a small blue star on a black background"


def patch(kube: Kube, spec: str) -> None:
    kube.run("patch", "sdinstance/shapes", "--type=merge", "-p", f'{{"spec": {spec}}}')


def uids(kube: Kube) -> set[str]:
    return {pod["metadata"]["uid"] for pod in kube.pods("shapes")}


def wait_replaced(kube: Kube, before: set[str]) -> None:
    def replaced() -> bool:
        current = kube.get("sdinstance", "shapes")["status"]
        held = {each["type"]: each["status"] for each in current["conditions"]}
        now = uids(kube)
        settled = held["Ready"] == "True" and held["Reconciling"] == "False"
        return settled and len(now) == 1 and not now & before

    kube.wait(replaced, "the pod to be replaced", 240)


def test_surge_fails_no_request(kube: Kube) -> None:
    serve(kube)
    before = uids(kube)
    with kube.service_url("shapes") as url, Load(url, ask(PROMPT, steps=4)) as load:
        load.wait_answered(5)
        patch(kube, '{"podAnnotations": {"rollout": "1"}}')
        wait_replaced(kube, before)
        load.wait_answered(load.outcome.answered + 5)
        # The old pod may still be finishing.
        kube.wait(lambda: len(kube.items("pods", "sdoperator.dev/instance=shapes")) == 1, "one pod", 120)
        load.wait_answered(load.outcome.answered + 5)
    print(f"Surge: {load.outcome.answered} answered, {load.outcome.failed} failed")
    assert load.outcome.failed == 0, load.outcome


def test_an_image_that_cannot_be_pulled_leaves_the_old_pod_serving_and_is_named(kube: Kube) -> None:
    before = uids(kube)
    with kube.service_url("shapes") as url, Load(url, ask(PROMPT, steps=4), clients=1) as load:
        patch(kube, '{"image": "localhost/no/such-image:1"}')
        stalled = kube.wait_condition("sdinstance", "shapes", "Stalled", seconds=120)
        assert stalled["message"].startswith("spec.image: ")
        assert "still serve" in stalled["message"]
        load.wait_answered(load.outcome.answered + 3)
        patch(kube, '{"image": null}')
        kube.wait_condition("sdinstance", "shapes", "Ready", seconds=120)
    assert load.outcome.failed == 0, load.outcome
    assert uids(kube) == before


@pytest.mark.long
def test_a_pod_that_cannot_load_leaves_the_old_pod_serving_and_says_why(kube: Kube) -> None:
    """On a GPU that is not there the new pod's process says so."""
    before = uids(kube)
    with kube.service_url("shapes") as url, Load(url, ask(PROMPT, steps=4), clients=1) as load:
        patch(kube, '{"gpu": {"backend": "Whole"}}')
        stalled = kube.wait_condition("sdinstance", "shapes", "Stalled", seconds=180)
        assert stalled["reason"] == "LoadFailed"
        assert "CUDA" in stalled["message"] and "still serve" in stalled["message"]
        load.wait_answered(load.outcome.answered + 3)
        patch(kube, '{"gpu": {"backend": "None"}}')
        kube.wait_condition("sdinstance", "shapes", "Ready", seconds=120)
    assert load.outcome.failed == 0, load.outcome
    assert uids(kube) == before


def test_drain_finishes_what_was_accepted_and_refuses_the_rest_with_503(kube: Kube) -> None:
    patch(kube, '{"rollout": {"strategy": "Drain"}}')
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=240)
    before = uids(kube)
    answers: list[object] = []

    def accepted(url: str, seed: int) -> None:
        answers.append(call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=150, seed=seed), seconds=300))

    with kube.service_url("shapes") as url:
        threads = [threading.Thread(target=accepted, args=(url, seed)) for seed in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        patch(kube, '{"podAnnotations": {"rollout": "drain"}}')
        refusals = set()
        deadline = time.monotonic() + 60
        while 503 not in refusals and time.monotonic() < deadline:
            try:
                call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=1), seconds=60)
            except urllib.error.HTTPError as error:
                with error:
                    refusals.add(error.code)
                    assert error.code == 503 and int(error.headers["Retry-After"]) > 0
            except OSError:
                # Between the end of the old pod and the readiness of the new one nobody listens.
                refusals.add(0)
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        print(
            f"Drain: {len(answers)} of {len(threads)} accepted requests answered; refusals seen: {refusals}"
        )
        assert len(answers) == len(threads)
        assert 503 in refusals
        wait_replaced(kube, before)
        call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=1))


@pytest.mark.long
def test_recreate_ends_the_old_pod_before_the_new_one(kube: Kube) -> None:
    kube.apply(bundle(), secret(), instance("anew", rollout={"strategy": "Recreate"}))
    kube.wait_condition("sdinstance", "anew", "Ready", seconds=240)
    assert kube.get("deployment", "anew")["spec"]["strategy"]["type"] == "Recreate"
    kube.run("patch", "sdinstance/anew", "--type=merge", "-p", '{"spec": {"podAnnotations": {"a": "b"}}}')
    seen = 0

    def ready() -> bool:
        nonlocal seen
        pods = kube.items("pods", "sdoperator.dev/instance=anew")
        seen = max(seen, sum(1 for pod in pods if pod["status"]["phase"] in ("Pending", "Running")))
        return kube.condition("sdinstance", "anew", "Ready").get("status") == "True"

    kube.wait(ready, "Ready again", 240)
    assert seen == 1
    kube.run("delete", "sdinstance/anew")
