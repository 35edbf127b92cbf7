"""`spec.access.page: Disabled`: the API serves, and there is no page."""

import json

from page_pod import Place
from shapes import ask, call, instance, status_of

PROMPT = "a large red circle on a white background"


def test_without_the_page_the_api_serves(place: Place) -> None:
    kube = place.cluster
    off = json.loads(json.dumps(instance("bare")))
    off["spec"]["access"]["page"] = "Disabled"
    kube.apply(off)
    kube.wait_condition("sdinstance", "bare", "Ready", seconds=300)
    with kube.service_url("bare") as url:
        for path in ("/", "/config", "/gradio_api/info", "/theme.css"):
            code, body = status_of(url, path)
            assert code == 404, (path, body)
            assert set(body) == {"error", "detail", "body", "errors"}
        assert len(call(url, "/sdapi/v1/txt2img", ask(PROMPT))["images"]) == 1
    kube.run("delete", "sdinstance/bare", "--wait=true")


def test_nobody_sees_the_page_without_the_password(place: Place) -> None:
    for path in ("/", "/config", "/gradio_api/queue/join", "/gradio_api/upload"):
        code, _ = status_of(place.url, path, auth=False)
        assert code == 401, path


def test_of_gradios_own_doors_only_those_the_page_needs_are_open(place: Place) -> None:
    for path in (
        "/gradio_api/run/predict",
        "/gradio_api/call/predict",
        "/monitoring",
        "/proxy=http://a.example/",
    ):
        code, body = status_of(place.url, path)
        assert code in (404, 501), (path, code)
        assert set(body) == {"error", "detail", "body", "errors"}
