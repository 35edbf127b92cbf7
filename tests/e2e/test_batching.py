"""Requests share the network's evaluations, and nobody's picture depends on the neighbours."""

import threading
from typing import Any

import numpy as np
import pytest
from cluster import Kube
from shapes import ask, call, pixels, serve


@pytest.fixture(scope="module", autouse=True)
def served(kube: Kube) -> None:
    serve(kube)


REQUESTS = [
    ask("a large red circle on a white background", sampler_name="Heun", steps=30, seed=11),
    ask("a small green star on a black background", sampler_name="DPM++ 2M", steps=40, seed=12, cfg_scale=5),
    ask("a large blue square on a gray background", sampler_name="Euler a", steps=40, seed=13),
]


def together(url: str) -> list[Any]:
    answers: list[Any] = [None] * len(REQUESTS)
    start = threading.Barrier(len(REQUESTS))

    def one(index: int) -> None:
        start.wait()
        answers[index] = call(url, "/sdapi/v1/txt2img", REQUESTS[index])

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(REQUESTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_unlike_requests_share_evaluations_and_equal_their_lone_runs(kube: Kube) -> None:
    pod = kube.pods("shapes")[0]["metadata"]["name"]

    def shared() -> float:
        return kube.cluster.pod_metrics(kube.namespace, pod, 9091)["sd_shared_calls_total"]

    with kube.service_url("shapes") as url:
        before = shared()
        alone = [call(url, "/sdapi/v1/txt2img", body) for body in REQUESTS]
        assert shared() == before, "requests one after the other share nothing"
        crowd = together(url)
        print(f"UNet calls that served more than one request: {shared() - before:.0f}")
        assert shared() - before >= 10
    for lone, among, body in zip(alone, crowd, REQUESTS, strict=True):
        difference = np.abs(pixels(lone["images"][0]) - pixels(among["images"][0])).max()
        print(f"{body['sampler_name']}: largest difference {difference}/255")
        assert difference <= 2, body


def test_ten_at_once_all_get_their_picture(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        colours: list[Any] = [None] * 10

        def one(index: int) -> None:
            colours[index] = call(
                url, "/sdapi/v1/txt2img", ask(f"a red circle {index}", seed=index, steps=10)
            )

        threads = [threading.Thread(target=one, args=(index,)) for index in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(answer and len(answer["images"]) == 1 for answer in colours)
        assert len({answer["images"][0] for answer in colours}) == 10
