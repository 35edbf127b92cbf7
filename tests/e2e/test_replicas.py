"""Several replicas behind one Service: any of them answers for the jobs of all."""

import base64
import concurrent.futures
import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from cluster import Kube, Manifest
from shapes import PASSWORD, USER, ask, bundle, image, instance, secret

JOBS = 50
DONE = ("done", "failed", "cancelled")


@pytest.fixture(scope="module", autouse=True)
def served(kube: Kube) -> None:
    # Without affinity each request may reach another replica, as with most ingress controllers.
    kube.apply(bundle(), secret(), instance(replicas=3))
    kube.wait_condition("modelbundle", "shapes", "Ready")
    # Ready holds as soon as one replica serves.
    kube.wait(lambda: len(serving(kube)) == 3, "three replicas to serve", 300)


def serving(kube: Kube) -> list[Manifest]:
    """The pods that are Ready."""
    return [
        pod
        for pod in kube.pods("shapes")
        if any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])
    ]


def addresses(kube: Kube) -> list[str]:
    return [f"http://{pod['status']['podIP']}:7860" for pod in kube.pods("shapes")]


def send(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request on a connection of its own."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    given = {"Content-Type": "application/json", "Authorization": f"Basic {token}", **headers}
    for name, value in given.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def job(seed: int) -> dict[str, Any]:
    parameters = ask("a large red circle on a white background", seed=seed, steps=6)
    return {"kind": "txt2img", "parameters": parameters}


def test_fifty_jobs_are_polled_at_any_replica(kube: Kube) -> None:
    pods = addresses(kube)
    assert len(pods) == 3
    statuses: dict[int, int] = {}

    def one(number: int) -> str:
        status, made = send(f"{pods[number % 3]}/v1/jobs", "POST", job(number))
        assert status in (200, 202), made
        for turn in range(600):
            status, told = send(f"{pods[(number + turn) % 3]}/v1/jobs/{made['id']}")
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200 and told["state"] in DONE:
                assert told["state"] == "done", told
                break
            time.sleep(0.2)
        status, result = send(f"{pods[(number + 1) % 3]}/v1/jobs/{made['id']}/result")
        assert status == 200, result
        assert image(result["images"][0]).size == (64, 64)
        return str(made["id"])

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        ids = list(pool.map(one, range(JOBS)))
    print(f"{JOBS} jobs, polls by status: {statuses}")
    assert len(set(ids)) == JOBS
    assert set(statuses) == {200}
    assert len({each.partition(".")[0] for each in ids}) == 3


def test_through_the_service_every_job_is_found(kube: Kube) -> None:
    with kube.service_url("shapes") as url:
        made = [send(f"{url}/v1/jobs", "POST", job(number))[1]["id"] for number in range(6)]
        for each in made:
            assert send(f"{url}/v1/jobs/{each}")[0] == 200


def test_the_same_client_id_is_one_job_wherever_it_is_sent(kube: Kube) -> None:
    pods = addresses(kube)
    made = [send(f"{pod}/v1/jobs", "POST", job(7), Idempotency_Key="only-once")[1]["id"] for pod in pods]
    assert len(set(made)) == 1
    status, told = send(f"{pods[0]}/v1/jobs", "POST", job(8), Idempotency_Key="only-once")
    assert status == 409, told


def test_a_job_is_cancelled_at_any_replica(kube: Kube) -> None:
    pods = addresses(kube)
    long = {"kind": "txt2img", "parameters": ask("a star", steps=150, n_iter=8)}
    _, made = send(f"{pods[0]}/v1/jobs", "POST", long)
    for pod in pods:
        status, told = send(f"{pod}/v1/jobs/{made['id']}/cancel", "POST")
        assert status == 200, told
    for _ in range(100):
        told = send(f"{pods[1]}/v1/jobs/{made['id']}")[1]
        if told["state"] in DONE:
            break
        time.sleep(0.1)
    assert told["state"] == "cancelled"


def test_a_job_of_a_replica_that_is_gone_is_told_to_be_gone(kube: Kube) -> None:
    pods = addresses(kube)
    _, made = send(f"{pods[0]}/v1/jobs", "POST", job(1))
    kube.run("delete", "pod", kube.pods("shapes")[0]["metadata"]["name"], "--wait=true")
    left = [pod for pod in addresses(kube) if pod != pods[0]]

    def gone() -> bool:
        return send(f"{left[0]}/v1/jobs/{made['id']}")[0] == 410

    kube.wait(gone, "the job to be gone", 60)
    status, told = send(f"{left[0]}/v1/jobs/{made['id']}")
    assert status == 410
    assert set(told) == {"error", "detail", "body", "errors"}
