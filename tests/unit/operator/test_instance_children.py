"""The children of an instance: as goldens for each option, and what is promised of them.

`GOLDEN=write pytest tests/unit/operator/test_instance_children.py` writes them anew: read what changed.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from instance_wishes import (
    CASES,
    CHECKPOINT,
    EVERYTHING,
    Object,
    container,
    deployment,
    environment,
    of_case,
    one,
    pod,
    template,
    wishes,
)
from operator_fakes import OTHER_SHA

from sd_operator import names
from sd_operator.instance.children.container import default_memory_mib
from sd_operator.instance.desired import Desired, written_on

GOLDENS = Path(__file__).parent / "golden"


# --- goldens


@pytest.mark.parametrize("case", CASES)
def test_the_children_are_those_of_the_golden(case: str) -> None:
    path = GOLDENS / f"{case}.yaml"
    # Through JSON, so that YAML has no anchors for parts that are one object here.
    text = yaml.safe_dump_all(json.loads(json.dumps(of_case(case))), sort_keys=False, width=110)
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} differs; GOLDEN=write writes it anew"


def test_every_golden_is_compared() -> None:
    assert {path.name for path in GOLDENS.iterdir()} == {f"{case}.yaml" for case in CASES}


# --- what is served


def test_another_checkpoint_or_option_changes_what_pods_read_and_not_the_pods() -> None:
    other = replace(CHECKPOINT, file="other", path="models/other.safetensors", sha256=OTHER_SHA)
    before = wishes()
    after = wishes(
        desired=Desired(checkpoint=other, options={"CLIP_stop_at_last_layers": 2}),
        checkpoint={"bundle": "sd15", "file": "other"},
        options={"CLIP_stop_at_last_layers": 2},
    )
    changed = [wish["kind"] for wish, old in zip(after, before, strict=True) if wish != old]
    assert changed == ["ConfigMap"]


def test_the_config_is_what_the_runtime_reads_and_tells_the_checkpoint_it_is_for() -> None:
    desired = Desired(checkpoint=CHECKPOINT, options={"CLIP_stop_at_last_layers": 2})
    config = one(wishes(desired=desired), names.CONFIGMAP)
    assert json.loads(config["data"]["desired.json"]) == desired.document()
    assert written_on(config) == CHECKPOINT


def test_the_kubelet_updates_what_the_runtime_reads() -> None:
    path = Path(environment()["SD_DESIRED_FILE"])
    (mount,) = (each for each in container()["volumeMounts"] if each["mountPath"] == str(path.parent))
    (volume,) = (each for each in pod()["volumes"] if each["name"] == mount["name"])
    assert path.name in one(wishes(), names.CONFIGMAP)["data"]
    assert volume["configMap"]["name"] == one(wishes(), names.CONFIGMAP)["metadata"]["name"]
    # A subPath is never updated.
    assert "subPath" not in mount


def test_a_checkpoint_of_another_size_needs_other_pods_only_for_their_default_memory() -> None:
    larger = replace(CHECKPOINT, size=CHECKPOINT.size * 2)
    given = {"requests": {"memory": "8Gi"}}
    assert template(checkpoint=larger) != template()
    assert template(checkpoint=larger, resources=given) == template(resources=given)
    about_as_large = replace(CHECKPOINT, size=CHECKPOINT.size - 10 * 2**20)
    assert template(checkpoint=about_as_large) == template()


# --- the template


def test_a_template_carries_its_own_digest() -> None:
    found = template()
    told = found["metadata"]["annotations"].pop(names.ANNOTATION_TEMPLATE)
    assert told == names.digest(found)


@pytest.mark.parametrize(
    "given",
    [
        {"image": "mine:2"},
        {"gpu": {"backend": "Whole"}},
        {"models": [{"name": "sd15"}, {"name": "more"}]},
        {"podLabels": {"a": "b"}},
        {"env": [{"name": "A", "value": "b"}]},
        {"exclusive": {"sd15"}},
    ],
    ids=str,
)
def test_what_needs_other_pods_changes_the_digest(given: Object) -> None:
    def digest(**other: Any) -> str:
        found: str = template(**other)["metadata"]["annotations"][names.ANNOTATION_TEMPLATE]
        return found

    assert digest(**given) != digest()


def test_replicas_and_the_way_pods_are_replaced_do_not_replace_pods() -> None:
    assert template(replicas=3, rollout={"strategy": "Recreate"}) == template()


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        pytest.param(
            {}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, id="Surge"
        ),
        pytest.param(
            {"outputs": {"size": "1Gi"}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            id="a volume for one pod",
        ),
        pytest.param(
            {"rollout": {"strategy": "Drain"}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            id="Drain",
        ),
        pytest.param({"rollout": {"strategy": "Recreate"}}, {"type": "Recreate"}, id="Recreate"),
    ],
)
def test_pods_are_replaced_as_the_spec_says(given: Object, strategy: Object) -> None:
    assert deployment(**given)["spec"]["strategy"] == strategy


@pytest.mark.parametrize("seconds", [1, 600, 86400])
def test_a_pod_may_finish_what_it_accepted_before_it_is_killed(seconds: int) -> None:
    given: Object = {"rollout": {"drainTimeoutSeconds": seconds}}
    leaving = container(**given)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert int(environment(**given)["SD_DRAIN_SECONDS"]) == seconds
    assert pod(**given)["terminationGracePeriodSeconds"] == seconds + leaving + 10


@pytest.mark.parametrize("seconds", [1, 86400])
def test_a_rollout_that_gets_on_is_not_called_stuck(seconds: int) -> None:
    found = deployment(rollout={"drainTimeoutSeconds": seconds})["spec"]
    of_pod = found["template"]["spec"]
    probe = of_pod["containers"][0]["startupProbe"]
    loading = probe["periodSeconds"] * probe["failureThreshold"]
    assert loading >= 1800
    assert found["progressDeadlineSeconds"] > loading + of_pod["terminationGracePeriodSeconds"]


def test_probes_ask_the_management_port() -> None:
    probed = container()
    ready = {"path": "/readyz", "port": "management"}
    assert probed["startupProbe"]["httpGet"] == probed["readinessProbe"]["httpGet"] == ready
    assert probed["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_what_would_change_the_pods_if_somebody_added_it_is_said_although_it_is_the_default() -> None:
    assert deployment()["spec"]["paused"] is False
    assert pod()["nodeSelector"] == {}
    assert (pod()["hostNetwork"], pod()["hostPID"], pod()["hostIPC"]) == (False, False, False)
    assert (container()["command"], container()["args"]) == (["python", "-m", "sd_runtime"], [])
    security = container()["securityContext"]
    assert (security["privileged"], security["capabilities"]["add"]) == (False, [])


# --- the container


def test_the_runtime_is_told_everything_by_its_environment() -> None:
    assert environment(models=[{"name": "sd15"}, {"name": "more"}]) == {
        "HOME": "/tmp",
        "XDG_CACHE_HOME": "/cache",
        "TORCHINDUCTOR_CACHE_DIR": "/cache/torchinductor",
        "TRITON_CACHE_DIR": "/cache/triton",
        "SD_MODEL_ROOTS": "/bundles/sd15:/bundles/more",
        "SD_DESIRED_FILE": "/etc/sd-runtime/desired/desired.json",
        "SD_DEVICE": "cpu",
        "SD_OUTPUT_DIR": "/outputs",
        "SD_AUTH": "required",
        "SD_AUTH_DIR": "/etc/sd-runtime/auth",
        "SD_PAGE": "on",
        "SD_MANAGEMENT_TOKEN_SHA256": "t" * 64,
        "SD_DRAIN_SECONDS": "600",
        "SD_CACHE_DIR": "/cache/sd-runtime",
        "SD_PEERS": "demo-pods.ns.svc",
        "SD_POD_IP": "",
    }


def test_the_users_variables_come_after_ours_and_never_in_their_place() -> None:
    given = [
        {"name": "A", "value": "$(HOME)/a"},
        {"name": "XDG_CACHE_HOME", "value": "/outputs/cache"},
        {"name": "SD_AUTH", "value": "disabled"},
    ]
    env = container(env=given)["env"]
    assert env[-2:] == given[:2]
    assert environment(env=given)["SD_AUTH"] == "required"
    # Server-side apply refuses a name that is there twice.
    assert len({item["name"] for item in env}) == len(env)


def test_the_page_is_served_unless_it_is_switched_off() -> None:
    access = {"auth": "Required", "authSecretRef": {"name": "login"}}
    assert environment(access=access)["SD_PAGE"] == "on"
    switched_off = environment(
        access={**access, "page": "Disabled"}, env=[{"name": "SD_PAGE", "value": "on"}]
    )
    assert switched_off["SD_PAGE"] == "off"


def test_pickles_are_read_where_a_bundle_lets_them_onto_its_volume() -> None:
    assert {"name": "SD_ALLOW_PICKLES", "value": "true"} in container(pickles=True)["env"]


@pytest.mark.parametrize("backend", ["Whole", "MIG", "DRA"])
def test_a_gpu_that_was_asked_for_is_used_or_an_error(backend: str) -> None:
    found = deployment(gpu={"backend": backend})
    told = json.loads(found["metadata"]["annotations"][names.ANNOTATION_GPU])
    assert told["backend"] == backend
    assert environment(gpu={"backend": backend})["SD_DEVICE"] == "cuda"
    assert "annotations" not in deployment()["metadata"]


def test_pods_claim_the_gpu_of_the_template_that_is_there() -> None:
    found = wishes(gpu={"backend": "DRA"})
    (claim,) = one(found, names.DEPLOYMENT)["spec"]["template"]["spec"]["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == one(found, names.CLAIMTEMPLATE)["metadata"]["name"]


@pytest.mark.parametrize(
    ("given", "requests"),
    [
        (None, {"cpu": "250m", "memory": "4096Mi"}),
        ({"requests": {"memory": "1Gi"}}, {"cpu": "250m", "memory": "1Gi"}),
        ({"limits": {"memory": "8Gi"}}, {"cpu": "250m"}),
        ({"limits": {"cpu": 2}, "requests": {"memory": "1Gi"}}, {"memory": "1Gi"}),
    ],
    ids=["nothing said", "a request", "a limit is the request", "both"],
)
def test_requests_are_filled_in_where_the_user_said_nothing(given: Object | None, requests: Object) -> None:
    assert container(resources=given)["resources"]["requests"] == requests


@pytest.mark.parametrize(("size", "mib"), [(0, 1024), (1, 1024), (100 * 2**20, 1536), (4 * 2**30, 7168)])
def test_the_default_memory_grows_with_the_checkpoint(size: int, mib: int) -> None:
    assert default_memory_mib(size) == mib


def test_what_kubernetes_has_words_for_is_passed_on() -> None:
    spec = pod(**EVERYTHING)
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert {"key": "spot", "operator": "Exists"} in spec["tolerations"]
    assert spec["containers"][0]["image"] == "mine:2"
    assert spec["containers"][0]["resources"]["limits"]["memory"] == "16Gi"


def test_the_users_labels_and_annotations_are_on_the_pods_beside_ours() -> None:
    found = template(podLabels={"a": "b", names.LABEL_SD_INSTANCE: "other"}, podAnnotations={"c": "d"})
    assert found["metadata"]["labels"].items() >= {"a": "b", names.LABEL_SD_INSTANCE: "demo"}.items()
    assert found["metadata"]["annotations"]["c"] == "d"


def test_pods_are_those_that_deployment_services_budget_and_policy_select() -> None:
    found = of_case("everything")
    labels = one(found, names.DEPLOYMENT)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(found, names.DEPLOYMENT)["spec"]["selector"]["matchLabels"],
        one(found, names.DISRUPTIONBUDGET)["spec"]["selector"]["matchLabels"],
        one(found, names.NETWORKPOLICY)["spec"]["podSelector"]["matchLabels"],
        *(wish["spec"]["selector"] for wish in found if wish["kind"] == "Service"),
    ]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector and selector.items() <= labels.items()
