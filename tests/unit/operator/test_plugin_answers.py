"""What an instance says of its plugins, by what its pods tell: the verdict, and status.plugins."""

import datetime
import json
from typing import Any

import pytest
from instance_wishes import UID, with_uid
from operator_fakes import SHA, answering, holding, instance, plugin, run, timestamp, wait

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.instance import SDInstance
from sd_operator.api.plugin import SDPlugin
from sd_operator.instance import answers
from sd_operator.instance.desired import Checkpoint, Desired
from sd_operator.instance.observe import Observed
from sd_operator.instance.plugins import annotation, resolved
from sd_operator.instance.readiness import blamed, readiness, replicas
from sd_operator.pods import Trouble
from sd_operator.runtime_client import RuntimeState

DESIRED = Desired(checkpoint=Checkpoint(bundle="sd15", file="base", path="base", sha256=SHA, size=1000))
TEMPLATE = {"annotations": {names.ANNOTATION_TEMPLATE: "now"}}
PLUGIN = parse(SDPlugin, with_uid({**plugin(), "metadata": {**plugin()["metadata"], "generation": 3}}))


def a_pod(name: str = "p") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"{name}-uid", "creationTimestamp": timestamp(), **TEMPLATE}}


def sidecar(pod: dict[str, Any], **status: Any) -> dict[str, Any]:
    """The pod with the status of the plugin's container."""
    pod["status"]["initContainerStatuses"] = [{"name": "plugin-aux", **status}]
    return pod


def serving(*plugins: Any) -> RuntimeState:
    return holding(SHA, revision=DESIRED.revision, plugins=list(plugins))


def observed(
    *told: Any, pods: Any = None, replicas: int | None = None, plugins: Any = None, scope: str = "Namespace"
) -> Observed:
    """As many pods as there are answers, each with one."""
    living = pods if pods is not None else [run(a_pod(f"p{n}")) for n in range(len(told))]
    wanted = len(living) if replicas is None else replicas
    spec = instance(replicas=wanted, plugins=[{"name": "aux", "scope": scope}])
    status = {"observedGeneration": 2, "replicas": wanted, "updatedReplicas": wanted}
    world = Observed(
        instance=parse(SDInstance, with_uid(spec)),
        now=datetime.datetime.now(tz=datetime.UTC),
        plugins={"aux": PLUGIN} if plugins is None else plugins,
        pods=tuple(living),
        states={
            pod["metadata"]["uid"]: state
            for pod, state in zip(living, told, strict=False)
            if state is not None
        },
    )
    deployment = {
        "kind": "Deployment",
        "metadata": {
            "name": "demo",
            "generation": 2,
            "ownerReferences": [{"uid": UID, "controller": True}],
            "annotations": {names.ANNOTATION_PLUGINS: annotation(resolved(world))},
        },
        "spec": {"template": {"metadata": TEMPLATE}},
        "status": status,
    }
    return world.with_children([deployment])


UP = answering()
SILENT = answering(ready=False, reason="NotAnswering", message="no answer for 2 s")
BROKEN = answering(ready=False, reason="ContractBroken", message="it calls itself 'other'")
EARLY = answering(ready=False, reason="Starting")
LOADED = "sd15/base is loaded by"


@pytest.mark.parametrize(
    ("told", "state", "reason", "words"),
    [
        pytest.param([serving(UP)], "Ready", "CheckpointLoaded", f"{LOADED} 1 of 1 pod", id="it answers"),
        pytest.param(
            [serving(SILENT)],
            "Reconciling",
            "PluginNotReady",
            "spec.plugins[aux]: pod p0: NotAnswering: no answer for 2 s; requests that need none of its "
            "modules are served",
            id="it is silent",
        ),
        pytest.param(
            [serving(BROKEN)],
            "Stalled",
            "PluginNotReady",
            "spec.plugins[aux]: pod p0: ContractBroken: it calls itself 'other'",
            id="it breaks the contract",
        ),
        pytest.param([serving(EARLY)], "Reconciling", "Loading", f"{LOADED} 0 of 1 pod", id="it starts"),
        pytest.param(
            [serving()],
            "Reconciling",
            "PluginNotReady",
            "NotReported: the runtime says nothing of it: spec.image is of another version",
            id="the runtime knows no plugins",
        ),
        pytest.param(
            [serving(SILENT), serving(SILENT)],
            "Reconciling",
            "PluginNotReady",
            "pod p0: NotAnswering: no answer for 2 s (and 1 more)",
            id="it is silent everywhere",
        ),
        pytest.param(
            [serving(SILENT), serving(UP)], "Ready", "CheckpointLoaded", f"{LOADED} 2 of 2", id="in one pod"
        ),
    ],
)
def test_an_instance_is_ready_where_its_plugins_answer(
    told: list[RuntimeState], state: str, reason: str, words: str
) -> None:
    verdict = readiness(observed(*told), DESIRED)
    assert (verdict.state.value, verdict.reason) == (state, reason)
    assert words in verdict.message


def test_what_is_silent_in_one_pod_is_told_beside_ready() -> None:
    verdict = readiness(observed(serving(SILENT), serving(UP)), DESIRED)
    assert verdict.underway is not None
    assert verdict.underway[0] == "PluginNotReady" and "pod p0" in verdict.underway[1]


def test_a_pod_whose_plugin_is_silent_holds_the_checkpoint_all_the_same() -> None:
    (replica,) = replicas(observed(serving(SILENT)), DESIRED)
    assert replica.serves(DESIRED) and replica.down


PULL = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
CRASH = {
    "restartCount": 4,
    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
    "lastState": {"terminated": {"exitCode": 1, "message": "no module named cv2"}},
}
MEMORY = {**CRASH, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
CONFIG = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "runs as root"}}}


def stuck() -> dict[str, Any]:
    return wait(a_pod("p0"), "PodInitializing", "")


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        pytest.param(
            sidecar(stuck(), **PULL),
            "ImagePullBackOff",
            "spec.plugins[aux]: SDPlugin aux: spec.image: pod p0, container plugin-aux: not found",
            id="its image cannot be had",
        ),
        pytest.param(
            sidecar(stuck(), **CONFIG),
            "CreateContainerConfigError",
            "spec.plugins[aux]: SDPlugin aux: spec.image: pod p0, container plugin-aux: runs as root",
            id="its image wants more than it gets",
        ),
        pytest.param(
            sidecar(run(a_pod("p0"), ready=False), **CRASH),
            "CrashLoopBackOff",
            "spec.plugins[aux]: SDPlugin aux: spec.image: pod p0, container plugin-aux: it ends again and "
            "again; it last ended with exit code 1 (no module named cv2)",
            id="its first process ends and ends",
        ),
        pytest.param(
            sidecar(run(a_pod("p0"), ready=False), **MEMORY),
            "CrashLoopBackOff",
            "spec.plugins[aux]: SDPlugin aux: spec.resources: pod p0, container plugin-aux: it ends again",
            id="it needs more memory",
        ),
    ],
)
def test_a_container_that_does_not_run_is_named_as_the_plugin_it_is(
    pod: dict[str, Any], reason: str, words: str
) -> None:
    state = serving(SILENT) if pod["status"]["phase"] == "Running" else None
    world = observed(state, pods=[pod])
    verdict = readiness(world, DESIRED)
    assert (verdict.state.value, verdict.reason) == ("Stalled", reason)
    assert verdict.message.startswith(words)
    (told,) = answers.statuses(world, [each.plugins for each in replicas(world, DESIRED)]) or ()
    assert (told.ready, told.reason) == (False, reason)
    assert "container plugin-aux" in (told.message or "")


@pytest.mark.parametrize(("seconds", "state"), [(1, "Stalled"), (50, "Stalled"), (70, "Ready")])
def test_a_container_that_runs_for_moments_is_told_of_in_the_same_words(seconds: int, state: str) -> None:
    running = {**CRASH, "ready": True, "state": {"running": {"startedAt": timestamp(ago=seconds)}}}
    waiting = readiness(
        observed(serving(SILENT), pods=[sidecar(run(a_pod("p0"), ready=False), **CRASH)]), DESIRED
    )
    verdict = readiness(observed(serving(UP), pods=[sidecar(run(a_pod("p0")), **running)]), DESIRED)
    assert verdict.state.value == state
    assert (verdict == waiting) is (state == "Stalled")


def test_what_the_api_server_refuses_of_a_plugin_is_named_as_the_plugin_it_is() -> None:
    words = 'Deployment.apps "demo" is invalid: spec.template.spec.initContainers[0].resources.requests: x'
    assert blamed(observed(serving(UP)), Trouble("ChildRejected", words, True)) == (
        f"spec.plugins[aux]: SDPlugin aux: spec.resources: {words}"
    )


# --- status.plugins


def status(world: Observed) -> dict[str, Any]:
    (found,) = answers.statuses(world, [each.plugins for each in replicas(world, DESIRED)]) or ()
    return found.as_manifest()


HED = {"name": "hed", "available": True, "reason": ""}
NO_HED = {"name": "hed", "available": False, "reason": "ControlNetHED.pth is on no volume"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(
            [serving(answering("aux", HED))],
            {"version": "0.1.0", "ready": True, "modules": [{"name": "hed", "available": True}]},
            id="it answers",
        ),
        pytest.param(
            [serving(answering("aux", HED)), serving(answering("aux", NO_HED))],
            {
                "version": "0.1.0",
                "ready": True,
                "modules": [{"name": "hed", "available": False, "reason": NO_HED["reason"]}],
            },
            id="a module is not available in one pod",
        ),
        pytest.param(
            [serving(UP), serving(SILENT)],
            {"version": "0.1.0", "ready": False, "reason": "NotAnswering", "message": "no answer for 2 s"},
            id="it is silent in one pod",
        ),
        pytest.param(
            [serving(answering(message="2 of 5 weights are there"))],
            {"version": "0.1.0", "ready": True, "message": "2 of 5 weights are there"},
            id="it has something to tell",
        ),
        pytest.param(
            [None, serving(UP)], {"version": "0.1.0", "ready": True}, id="one pod says nothing, this once"
        ),
    ],
)
def test_a_plugin_is_ready_when_all_pods_say_so(told: list[Any], expected: dict[str, Any]) -> None:
    assert status(observed(*told)) == {"name": "aux", "observedGeneration": 3, **expected}


@pytest.mark.parametrize(
    ("changes", "reason", "generation"),
    [
        pytest.param({"pods": [], "replicas": 1}, "Starting", 3, id="no pod yet"),
        pytest.param({"pods": [], "replicas": 0}, "NoPods", 3, id="no pod is wanted"),
        pytest.param(
            {"pods": [], "replicas": 1, "plugins": {"aux": None}}, "PluginNotFound", 0, id="missing"
        ),
    ],
)
def test_why_there_is_no_answer(changes: dict[str, Any], reason: str, generation: int) -> None:
    found = status(observed(**changes))
    assert (found["ready"], found["reason"]) == (False, reason)
    assert found["observedGeneration"] == generation


def test_a_pod_that_is_added_takes_no_readiness_until_it_serves_or_its_plugin_does_not_run() -> None:
    ready, new = run(a_pod("p0")), run(a_pod("p1"), ready=False)
    assert status(observed(serving(UP), serving(EARLY), pods=[ready, new]))["ready"] is True
    alone = status(observed(serving(UP), pods=[new]))
    assert (alone["ready"], alone["reason"]) == (False, "Starting")
    stays = sidecar(wait(a_pod("p1"), "PodInitializing", ""), **PULL)
    assert status(observed(serving(UP), pods=[ready, stays]))["reason"] == "ImagePullBackOff"


def test_a_plugin_that_says_far_too_much_is_cut_to_what_a_status_takes() -> None:
    modules = [{"name": f"m{n}{'x' * 200}", "available": False, "reason": "y" * 5000} for n in range(300)]
    found = status(observed(serving(answering("aux", *modules, version="v" * 500, message="z" * 9000))))
    assert len(found["modules"]) == 64
    assert len({module["name"] for module in found["modules"]}) == 64
    longest = max(len(module["reason"]) for module in found["modules"])
    assert (longest, len(found["message"]), len(found["version"])) == (200, 1024, 100)


def test_sixteen_plugins_that_say_as_much_as_they_can_fit_into_one_object() -> None:
    wide = "\U0001f600" * 5000
    modules = [{"name": f"{n:063}", "available": False, "reason": wide} for n in range(64)]
    found = status(observed(serving(answering("aux", *modules, ready=False, reason="No", message=wide))))
    # etcd's limit for a request, with room for the rest of the object and for who owns which field.
    assert 16 * len(json.dumps(found, ensure_ascii=False).encode()) < 1_100_000


def test_an_instance_without_plugins_tells_of_none() -> None:
    world = observed(serving())
    bare = parse(SDInstance, with_uid(instance()))
    assert answers.statuses(Observed(instance=bare, now=world.now), []) is None
