"""The containers of plugins in an instance's pods: what they are given, and what they are not."""

import json
from typing import Any

import pytest
from instance_wishes import PLUGINS, Object, a_plugin, container, deployment, environment, pod, template

from sd_operator import names
from sd_operator.instance.plugins import Plugin, written_on


def sidecars(*added: Plugin, **given: Any) -> dict[str, Object]:
    return {each["name"]: each for each in pod(added=added, **given)["initContainers"]}


def sidecar(**spec: Any) -> Object:
    return sidecars(a_plugin(**spec))["plugin-aux"]


def test_a_plugin_is_a_sidecar_without_probes_that_is_started_again_for_ever() -> None:
    found = sidecars(*PLUGINS)
    assert list(found) == ["plugin-edges", "plugin-aux"]
    for each in found.values():
        assert each["restartPolicy"] == "Always"
        # A failing startup probe would keep the runtime from starting, a readiness probe take the pod out.
        assert not {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "ports"} & set(each)


def test_it_is_told_its_name_its_socket_and_where_its_files_are() -> None:
    env = {item["name"]: item["value"] for item in sidecars(*PLUGINS)["plugin-aux"]["env"]}
    assert env == {
        "HOME": "/tmp",
        "NVIDIA_VISIBLE_DEVICES": "void",
        "SD_PLUGIN_NAME": "aux",
        "SD_PLUGIN_SOCKET": "/run/sd-plugins/aux.sock",
        "SD_PLUGIN_MODELS": "/bundles/annotators:/bundles/sd15",
    }


def test_it_sees_the_sockets_a_scratch_folder_of_its_own_and_only_its_own_bundles() -> None:
    found = sidecars(*PLUGINS, models=[{"name": "sd15"}, {"name": "loras"}])
    edges, aux = (
        {mount["mountPath"]: (mount["name"], mount.get("readOnly", False)) for mount in each["volumeMounts"]}
        for each in found.values()
    )
    assert edges == {"/run/sd-plugins": ("plugins", False), "/tmp": ("tmp-edges", False)}
    assert aux == {
        "/run/sd-plugins": ("plugins", False),
        "/tmp": ("tmp-aux", False),
        "/bundles/annotators": ("bundle-annotators", True),
        "/bundles/sd15": ("bundle-sd15", True),
    }


def test_what_it_writes_cannot_fill_its_node() -> None:
    found = {volume["name"]: volume for volume in pod(added=PLUGINS)["volumes"]}
    assert [found[name]["emptyDir"] for name in ("plugins", "tmp-edges", "tmp-aux")] == [
        {"sizeLimit": "16Mi"},
        {"sizeLimit": "1Gi"},
        {"sizeLimit": "1Gi"},
    ]


def test_a_bundle_of_the_runtime_and_of_two_plugins_is_one_volume() -> None:
    twice = (a_plugin("a", models=[{"name": "sd15"}]), a_plugin("b", models=[{"name": "sd15"}]))
    volumes = [volume["name"] for volume in pod(added=twice)["volumes"]]
    assert len(set(volumes)) == len(volumes)
    assert volumes.count("bundle-sd15") == 1


def test_the_runtime_is_told_where_they_are_and_what_is_expected_of_them() -> None:
    env = environment(added=PLUGINS)
    assert env["SD_PLUGIN_DIR"] == "/run/sd-plugins"
    assert json.loads(env["SD_PLUGINS"]) == [
        {"name": "edges", "kind": "Preprocessor"},
        {
            "name": "aux",
            "kind": "Preprocessor",
            "modules": [
                {"name": "hed", "controlType": "SoftEdge", "matches": ["softedge", "hed"]},
                {"name": "depth_midas"},
            ],
        },
    ]
    assert {"SD_PLUGIN_DIR", "SD_PLUGINS"} <= names.OWN_VARIABLES


def test_the_runtime_sees_the_sockets_and_no_bundle_that_is_only_a_plugins() -> None:
    mounts = {mount["mountPath"]: mount for mount in container(added=PLUGINS)["volumeMounts"]}
    assert mounts["/run/sd-plugins"]["readOnly"] is True
    assert "/bundles/annotators" not in mounts
    assert environment(added=PLUGINS)["SD_MODEL_ROOTS"] == "/bundles/sd15"


def test_without_plugins_nothing_of_them_is_there() -> None:
    assert "initContainers" not in pod()
    assert not {"SD_PLUGIN_DIR", "SD_PLUGINS"} & set(environment())
    assert "plugins" not in {volume["name"] for volume in pod()["volumes"]}
    assert written_on(deployment()) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}),
        (
            {"limits": {"cpu": 2}},
            {"requests": {"memory": "256Mi"}, "limits": {"cpu": 2, "memory": "2Gi"}},
        ),
        (
            {"requests": {"memory": "2Gi"}},
            {"requests": {"cpu": "100m", "memory": "2Gi"}},
        ),
        (
            {"limits": {"cpu": 2, "memory": "2Gi"}},
            {"requests": {}, "limits": {"cpu": 2, "memory": "2Gi"}},
        ),
    ],
    ids=["nothing said", "nothing of memory", "a request", "limits are the requests"],
)
def test_its_resources_are_its_own_and_never_a_gpu(given: Object | None, expected: Object) -> None:
    assert sidecar(resources=given)["resources"] == expected
    (with_gpu,) = sidecars(a_plugin(resources=given), gpu={"backend": "Whole"}).values()
    assert with_gpu["resources"] == expected


def test_the_runtimes_own_resources_are_not_changed_by_plugins() -> None:
    assert container(added=PLUGINS)["resources"] == container()["resources"]


def test_pods_go_where_a_plugins_volume_is_in_use_that_one_node_only_can_have() -> None:
    found = template(added=PLUGINS, exclusive={"annotators", "of-nobody"})
    assert names.claim_label("annotators-models") in found["metadata"]["labels"]
    assert found["spec"]["affinity"]["podAffinity"]
    assert names.claim_label("of-nobody-models") not in found["metadata"]["labels"]


@pytest.mark.parametrize("length", [1, names.MAX_PLUGIN])
def test_the_longest_name_fits_everything_that_carries_it(length: int) -> None:
    name = "p" * length
    (found,) = sidecars(a_plugin(name)).values()
    assert len(found["name"]) <= 63
    assert all(len(mount["name"]) <= 63 for mount in found["volumeMounts"])
    # The kernel's limit for the address of a Unix socket, its end included.
    assert len(names.plugin_socket(name)) < 108
    assert names.plugin_of_container(found["name"]) == name
    assert names.is_plugin_name(name) and not names.is_plugin_name(f"{name}{'p' * names.MAX_PLUGIN}")


def test_pods_of_before_are_not_ended_for_one_whose_plugin_runs_for_moments() -> None:
    assert deployment(added=PLUGINS)["spec"]["minReadySeconds"] == 10
    assert "minReadySeconds" not in deployment()["spec"]


def test_what_pods_run_can_be_read_from_the_deployment() -> None:
    live = deployment(added=PLUGINS)
    assert written_on(live) == PLUGINS
    # So a Deployment that is made from what was read replaces no pod.
    again = deployment(added=written_on(live))
    assert again == live


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"name": "x"}]', '[{"name": "x", "spec": {}}]', "5"])
def test_an_annotation_that_was_edited_by_hand_does_no_harm(text: str) -> None:
    assert written_on({"metadata": {"annotations": {names.ANNOTATION_PLUGINS: text}}}) == ()


@pytest.mark.parametrize(
    "other",
    [
        {"image": "other:2"},
        {"modules": [{"name": "hed"}]},
        {"models": [{"name": "annotators"}]},
        {"resources": {"limits": {"memory": "1Gi"}}},
        {"kind": "Upscaler"},
    ],
    ids=str,
)
def test_every_change_of_a_plugin_replaces_the_pods(other: Object) -> None:
    assert template(added=[a_plugin(**other)]) != template(added=[a_plugin()])
