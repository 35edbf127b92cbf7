"""Plugins of a running instance: added by applying an object, and what becomes of requests when one crashes,
hangs, breaks its contract or cannot be pulled. The tests build on each other: each leaves the instance Ready.
"""

import threading
from typing import Any

import pytest
from cluster import Cluster, ClusterError, Kube
from shapes import ask, call, serve, status_of
from sidecars import catalog_image, detect, misbehaving_image, plugin, rolled_out, told, uids, use

PROMPT = "a large red circle on a white background"
KILL_THE_WORKER = """
import os, pathlib, signal
for folder in pathlib.Path("/proc").iterdir():
    if folder.name.isdigit() and b"worker" in (folder / "cmdline").read_bytes().split(b"\\0"):
        os.kill(int(folder.name), signal.SIGKILL)
        print("killed", folder.name)
"""


@pytest.fixture(scope="module", autouse=True)
def served(kube: Kube, cluster: Cluster) -> None:
    serve(kube)
    kube.apply(plugin("controlnet-basic", catalog_image(cluster, "controlnet-basic")))
    broken = misbehaving_image(cluster)
    kube.apply(*(plugin(name, broken) for name in ("slow", "crashing", "breaking")))
    kube.apply(plugin("ghost", "localhost/no/such-plugin:1"))


@pytest.fixture
def url(kube: Kube) -> Any:
    with kube.service_url("shapes") as found:
        yield found


@pytest.fixture(scope="module")
def picture(kube: Kube) -> str:
    """Of the demo's checkpoint, as base64."""
    with kube.service_url("shapes") as url:
        return str(call(url, "/sdapi/v1/txt2img", ask(PROMPT))["images"][0])


REFUSED = {
    "a request above the limit": {"resources": {"requests": {"memory": "5Gi"}, "limits": {"memory": "4Gi"}}},
    "less than nothing": {"resources": {"limits": {"cpu": -1}}},
    "a GPU": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
    "two words for an image": {"image": "has space"},
    "a name on two lines": {"modules": [{"name": "canny", "matches": ["a\nb"]}]},
    "a control type of nobody": {"modules": [{"name": "canny", "controlType": "Bogus"}]},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=list(REFUSED))
def test_the_api_server_refuses(kube: Kube, change: dict[str, Any]) -> None:
    manifest = plugin("refused", "a-plugin:1")
    manifest["spec"] |= change
    with pytest.raises(ClusterError, match=r"spec\.(resources|image|modules)"):
        kube.apply(manifest)


def test_an_applied_plugin_that_is_added_to_a_running_instance_shows_its_modules(
    kube: Kube, url: str, picture: str
) -> None:
    assert "canny" not in call(url, "/controlnet/module_list")["module_list"]
    rolled_out(kube, "controlnet-basic")
    said = told(kube, "controlnet-basic")
    modules = {module["name"]: module for module in said["modules"]}
    assert modules["canny"]["available"] and said["version"]
    with kube.service_url("shapes") as fresh:
        assert "canny" in call(fresh, "/controlnet/module_list")["module_list"]
        code, answer = detect(fresh, "canny", picture, controlnet_processor_res=64)
    assert (code, len(answer["images"])) == (200, 1)


def test_a_worker_killed_in_the_midst_of_a_request_fails_that_request_and_not_the_next(
    kube: Kube, picture: str
) -> None:
    rolled_out(kube, "controlnet-basic", "slow")
    pod = kube.pods("shapes")[0]["metadata"]["name"]
    before = restarts(kube)
    with kube.service_url("shapes") as url:
        answers: list[tuple[int, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(detect(url, "e2e_slow", picture)))
        asking.start()
        in_plugin = ("exec", pod, "-c", "plugin-slow", "--")
        kube.wait(lambda: "begun" in kube.run(*in_plugin, "ls", "/tmp"), "the slow run", 30)
        assert "killed" in kube.run(*in_plugin, "python", "-c", KILL_THE_WORKER)
        asking.join(60)
        ((code, failure),) = answers
        assert (code, failure["error"]) == (502, "PluginFailed"), failure
        assert "slow" in failure["detail"] and "e2e_slow" in failure["detail"]
        code, answer = detect(url, "e2e_quick", picture)
        assert code == 200, answer
    assert restarts(kube) == before, "the container went on while its worker was replaced"


def restarts(kube: Kube) -> list[int]:
    (pod,) = kube.pods("shapes")
    return [status["restartCount"] for status in pod["status"]["initContainerStatuses"]]


def test_a_run_that_hangs_ends_at_its_deadline_and_the_others_go_on(
    kube: Kube, url: str, picture: str
) -> None:
    answers: list[tuple[int, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(detect(url, "e2e_endless", picture)))
    asking.start()
    assert len(call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=2))["images"]) == 1
    assert detect(url, "canny", picture, controlnet_processor_res=64)[0] == 200
    assert not answers, "the pictures were made while it hung"
    asking.join(90)
    ((code, failure),) = answers
    assert code in (502, 504), failure
    assert "slow" in failure["detail"] and "e2e_endless" in failure["detail"]
    # Until the worker is replaced, the answer is 503 with a word to come again.
    kube.wait(lambda: detect(url, "e2e_quick", picture)[0] == 200, "a new worker of the plugin", 30)


def test_a_crash_loop_and_a_broken_contract_are_told_and_pictures_go_on(kube: Kube, picture: str) -> None:
    use(kube, "controlnet-basic", "crashing", "breaking")
    expected = {"crashing": ("NotAnswering", "on strike"), "breaking": ("ContractBroken", "contract")}
    for name, (reason, words) in expected.items():
        said = kube.wait(
            lambda name=name, reason=reason: (
                found if (found := told(kube, name)).get("reason") == reason else None
            ),
            f"{reason} of {name}",
            120,
        )
        assert not said["ready"] and words in said["message"], said
    ready = kube.condition("sdinstance", "shapes", "Ready")
    assert ready["status"] == "False"
    assert "crashing" in ready["message"] or "breaking" in ready["message"], ready
    kube.wait(lambda: len(uids(kube)) == 1, "one pod", 120)
    assert told(kube, "controlnet-basic")["ready"]
    with kube.service_url("shapes") as url:
        assert len(call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=2))["images"]) == 1
        assert detect(url, "canny", picture, controlnet_processor_res=64)[0] == 200
    rolled_out(kube, "controlnet-basic")


@pytest.mark.parametrize(
    ("name", "type_", "words"),
    [
        pytest.param("ghost", "Stalled", "no/such-plugin", id="an image that is not there"),
        pytest.param("no-such", "Reconciling", "there is none", id="a plugin that is not there"),
    ],
)
def test_the_old_pods_serve_on_when_a_plugin_cannot_be_had(
    kube: Kube, name: str, type_: str, words: str
) -> None:
    rolled_out(kube, "controlnet-basic")
    before = uids(kube)
    use(kube, "controlnet-basic", name)
    said = kube.wait(
        lambda: (
            found
            if (found := kube.condition("sdinstance", "shapes", type_)).get("status") == "True"
            and words in found["message"]
            else None
        ),
        f"{type_} with {words}",
        120,
    )
    assert f"spec.plugins[{name}]" in said["message"], said
    assert kube.condition("sdinstance", "shapes", "Ready")["status"] == "False"
    assert set(before) <= set(uids(kube))
    with kube.service_url("shapes") as url:
        assert len(call(url, "/sdapi/v1/txt2img", ask(PROMPT, steps=2))["images"]) == 1
        assert status_of(url, "/controlnet/module_list")[0] == 200
    rolled_out(kube, "controlnet-basic")
    assert uids(kube) == before, "the pods that served are those that serve"
