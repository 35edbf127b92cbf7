"""What a marketplace in kubebb's style makes of the charts: objects, and the images it shows and replaces."""

import base64
import functools
import json
import re
import subprocess
from pathlib import Path

import kubebb_render
import pytest
import yaml
from kubebb_render import CHARTS, EXAMPLES, ROOT, Object, chart_yaml

RULE = {"registry": "ghcr.io", "newRegistry": "mirror.test"}
MIRROR = {"kind": "Repository", "spec": {"imageOverride": [RULE]}}
GUIDE = (ROOT / "docs" / "kubebb.md").read_text()
each_chart = pytest.mark.parametrize("chart", CHARTS)
#: The plugins' charts have the same templates, byte for byte.
each_kind_of_chart = pytest.mark.parametrize("chart", [*CHARTS[:3], "sd-plugin-aux"])


def named(objects: list[Object]) -> dict[tuple[str, str], Object]:
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects)
    for each in objects:
        # Drawn at each rendering, where no cluster tells which was drawn before.
        if each["kind"] == "Secret" and "password" in each.get("data", {}):
            each["data"]["password"] = "drawn"
    return found


def helm_4(chart: str, *, release: str, namespace: str) -> list[Object]:
    done = subprocess.run(
        [kubebb_render.helm(), "template", release, ROOT / "charts" / chart, "--namespace", namespace],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return kubebb_render.documents(done.stdout)


def test_all_charts_are_looked_at() -> None:
    plugins = [f"sd-plugin-{name}" for name in ("aux", "basic", "openpose", "upscale")]
    assert ["sd-instance", "sd-models", "sd-operator", *plugins] == CHARTS


@each_chart
def test_it_renders_without_values_as_on_kubernetes_1_20(chart: str) -> None:
    rendered = kubebb_render.catalogue(chart)
    assert rendered["kubeVersion"] == "v1.20.0"
    assert rendered["notes"].strip()
    # sd-models brings nothing that nobody has chosen.
    assert bool(kubebb_render.documents(rendered["manifest"])) == (chart != "sd-models")


@each_chart
def test_old_and_new_helm_render_the_same_objects(chart: str) -> None:
    """None of them depends on the cluster's version or kinds."""
    old = kubebb_render.everything(kubebb_render.catalogue(chart))
    new = helm_4(chart, release="release-name", namespace="default")
    assert named(old) == named(new)


@each_kind_of_chart
def test_an_installation_without_overrides_changes_no_object(chart: str, tmp_path: Path) -> None:
    """Every manifest goes through kustomize, which refuses some and might read others otherwise."""
    plan = kubebb_render.a_plan(tmp_path, name="release-name", namespace="default")
    planned = kubebb_render.told("plan", ROOT / "charts" / chart, plan)
    assert named(kubebb_render.everything(planned)) == named(
        kubebb_render.everything(kubebb_render.catalogue(chart))
    )


def test_a_value_that_the_schema_refuses_is_refused_by_name(tmp_path: Path) -> None:
    plan = kubebb_render.a_plan(tmp_path, values={"imagee": {}})
    done = kubebb_render.run("plan", ROOT / "charts" / "sd-plugin-basic", plan)
    assert done.returncode == 1
    assert "imagee" in done.stderr


def misspelt(plan: Object, old: str, new: str) -> Object:
    spec = plan["spec"]
    return {**plan, "spec": {new if key == old else key: value for key, value in spec.items()}}


@pytest.mark.parametrize("kind", ["componentplan", "subscription"])
@pytest.mark.parametrize(
    ("old", "new"), [("override", "overide"), ("override", "Override"), ("name", "releaseName")]
)
def test_a_field_that_the_api_does_not_have_is_refused_by_name(
    kind: str, old: str, new: str, tmp_path: Path
) -> None:
    right = yaml.safe_load((EXAMPLES / "sd-plugin-basic" / f"{kind}.yaml").read_text())
    right["spec"].setdefault("override", {"values": {}})
    path = tmp_path / "plan.yaml"
    for plan, code in ((right, 0), (misspelt(right, old, new), 1)):
        path.write_text(yaml.safe_dump(plan))
        done = kubebb_render.run("plan", ROOT / "charts" / "sd-plugin-basic", path)
        assert done.returncode == code, done.stderr
    assert f'unknown field "spec.{new}"' in done.stderr


def test_a_plan_of_another_api_is_refused(tmp_path: Path) -> None:
    plan = kubebb_render.a_plan(tmp_path)
    plan.write_text(plan.read_text().replace("core.kubebb.k8s.com.cn/v1alpha1", "core.kubebb.io/v2"))
    done = kubebb_render.run("plan", ROOT / "charts" / "sd-plugin-basic", plan)
    assert done.returncode == 1
    assert 'apiVersion is "core.kubebb.io/v2", not core.kubebb.k8s.com.cn/v1alpha1' in done.stderr


def test_fields_of_a_subscription_are_none_of_a_plan(tmp_path: Path) -> None:
    plan = kubebb_render.a_plan(tmp_path)
    plan.write_text(plan.read_text().replace("spec:\n", "spec:\n  schedule: 0 3 * * 0\n"))
    done = kubebb_render.run("plan", ROOT / "charts" / "sd-plugin-basic", plan)
    assert (done.returncode, 'unknown field "spec.schedule"' in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"images": [{}]}, "spec.override.images[0].name is needed"),
        ({"images": [{"name": "a", "tag": "b"}]}, 'unknown field "spec.override.images[0].tag"'),
        ({"valuesFrom": [{"kind": "Secret", "nme": "b"}]}, 'unknown field "spec.override.valuesFrom[0].nme"'),
        ({"setString": ["a=b"]}, 'unknown field "spec.override.setString"'),
    ],
)
def test_so_is_one_of_an_override(override: Object, words: str, tmp_path: Path) -> None:
    plan = kubebb_render.a_plan(tmp_path, **override)
    done = kubebb_render.run("plan", ROOT / "charts" / "sd-plugin-basic", plan)
    assert done.returncode == 1
    assert words in done.stderr


def test_every_field_of_the_api_is_known(tmp_path: Path) -> None:
    definitions = json.loads((Path(__file__).parent / "kubebb_api.json").read_text())["definitions"]
    examples: Object = {"component": {"name": "c", "namespace": "ns"}, "override": {}, "name": "basic"}
    examples |= {"repository": {"name": "r", "namespace": "ns"}}
    for kind in ("ComponentPlan", "Subscription"):
        spec = {}
        for field, schema in definitions[kind]["properties"]["spec"]["properties"].items():
            reference = schema.get("$ref", "")
            plain = {"config/flag": False, "config/count": 1}.get(
                reference.removeprefix("#/definitions/"), "x"
            )
            spec[field] = examples.get(field, plain)
        path = tmp_path / f"{kind}.yaml"
        plan = {
            "apiVersion": "core.kubebb.k8s.com.cn/v1alpha1",
            "kind": kind,
            "metadata": {"name": "basic", "namespace": "ns", "labels": {"a": "b"}, "annotations": {"a": "b"}},
            "spec": spec,
            "status": {"x": 1},
        }
        path.write_text(yaml.safe_dump(plan))
        assert kubebb_render.told("plan", ROOT / "charts" / "sd-plugin-basic", path)["manifest"]


def test_the_later_and_the_closer_value_wins(tmp_path: Path) -> None:
    """ConfigMaps and Secrets in their order, then the plan's own values, then set, then set-string."""

    settings = ("name", "image.registry", "image.repository", "resources.limits.memory", "image.tag")

    def nested(level: int, value: str) -> Object:
        """From its level on, each layer says something of a setting."""
        found: Object = {}
        for setting in settings[level:]:
            *parents, last = setting.split(".")
            inner = functools.reduce(lambda node, key: node.setdefault(key, {}), parents, found)
            inner[last] = value
        return found

    data = {"values.yaml": yaml.safe_dump(nested(0, "1a"))}
    mine = {"mine": base64.b64encode(yaml.safe_dump(nested(1, "1b")).encode()).decode()}
    found = kubebb_render.beside(
        tmp_path,
        {"kind": "ConfigMap", "metadata": {"name": "first"}, "data": data},
        {"kind": "Secret", "metadata": {"name": "second"}, "data": mine},
    )
    plan = kubebb_render.a_plan(
        tmp_path,
        valuesFrom=[
            {"kind": "ConfigMap", "name": "first"},
            {"kind": "Secret", "name": "second", "valuesKey": "mine"},
        ],
        values=nested(2, "1c"),
        set=[f"{setting}=4Gi" for setting in settings[3:]],
        set_string=[f"{settings[4]}=5"],
    )
    rendered = kubebb_render.told("plan", ROOT / "charts" / "sd-plugin-basic", plan, found)
    (plugin,) = kubebb_render.documents(rendered["manifest"])
    assert plugin["metadata"]["name"] == "1a"
    assert plugin["spec"]["image"] == "1b/1c:5"
    assert plugin["spec"]["resources"]["limits"]["memory"] == "4Gi"


def test_values_that_are_not_there_are_named(tmp_path: Path) -> None:
    plan = kubebb_render.a_plan(tmp_path, valuesFrom=[{"kind": "Secret", "name": "login"}])
    done = kubebb_render.run("plan", ROOT / "charts" / "sd-plugin-basic", plan)
    assert "no Secret login with data at the key values.yaml" in done.stderr


# Images


def unseen() -> dict[str, set[str]]:
    """By chart: the images that the guide says are not in kubebb's own list."""
    table = GUIDE.split("| Chart |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| `(sd-[a-z-]+)` \|([^|]*)\|([^|]*)\|$", table, re.M)
    assert [chart for chart, _, _ in rows] == CHARTS
    return {chart: set(re.findall(r"`([a-z-]+)`", cell)) for chart, _, cell in rows}


def short(images: set[str] | list[str]) -> set[str]:
    return {re.split(r"[:@]", image.rpartition("/")[2])[0] for image in images}


@each_chart
def test_the_annotation_lists_every_image_that_can_come_to_run(chart: str) -> None:
    """kubebb shows a version's annotations; its own list of images sees only the pods among the objects."""
    rendered = kubebb_render.example(chart)
    listed = yaml.safe_load(chart_yaml(chart)["annotations"]["artifacthub.io/images"])
    assert {each["image"] for each in listed} == kubebb_render.images(kubebb_render.everything(rendered))


@each_chart
def test_the_guide_says_which_images_kubebbs_own_list_lacks(chart: str) -> None:
    rendered = kubebb_render.example(chart)
    every = kubebb_render.images(kubebb_render.everything(rendered))
    assert short(every) - short(rendered["images"]) == unseen()[chart]


@each_kind_of_chart
def test_one_value_replaces_the_registry_of_every_image(chart: str, tmp_path: Path) -> None:
    before = kubebb_render.images(kubebb_render.everything(kubebb_render.example(chart)))
    plan = kubebb_render.a_plan(
        tmp_path, values=kubebb_render.chosen(chart), set=["global.imageRegistry=mirror.test:5000"]
    )
    rendered = kubebb_render.told("plan", ROOT / "charts" / chart, plan)
    after = kubebb_render.images(kubebb_render.everything(rendered))
    assert before
    assert after == {image.replace("ghcr.io/", "mirror.test:5000/") for image in before}


@each_kind_of_chart
def test_a_repositorys_override_replaces_no_more_than_the_list_shows(chart: str, tmp_path: Path) -> None:
    plan = EXAMPLES / chart / "componentplan.yaml"
    found = kubebb_render.beside(tmp_path, MIRROR)
    rendered = kubebb_render.told("plan", ROOT / "charts" / chart, plan, found)
    every = kubebb_render.images(kubebb_render.everything(rendered))
    assert {image for image in every if image.startswith("mirror.test/")} == set(rendered["images"])
    assert {image for image in every if image.startswith("ghcr.io/")} or not unseen()[chart]


@each_kind_of_chart
def test_with_the_guides_paths_it_replaces_every_image_but_those_of_hooks(chart: str, tmp_path: Path) -> None:
    (paths,) = re.findall(r"^IMAGEOVERRIDE_PATH=(\S+)$", GUIDE, re.M)
    plan = EXAMPLES / chart / "componentplan.yaml"
    found = kubebb_render.beside(tmp_path, MIRROR)
    rendered = kubebb_render.told(
        "plan", ROOT / "charts" / chart, plan, found, environment={"IMAGEOVERRIDE_PATH": paths}
    )
    left = kubebb_render.images(kubebb_render.documents(rendered["manifest"]))
    assert all(image.startswith("mirror.test/") for image in left)
    untouched = kubebb_render.example(chart)["manifest"]
    was = kubebb_render.documents(untouched.replace("ghcr.io/sd-operator/", "mirror.test/sd-operator/"))
    assert named(kubebb_render.documents(rendered["manifest"])) == named(was)


def a_path(*, new: str | None = None) -> Object:
    return {"path": "sd-operator"} | ({"newPath": new} if new else {})


@pytest.mark.parametrize(
    ("rules", "image"),
    [
        pytest.param([{"registry": "ghcr.io"}], "ghcr.io/sd-operator/operator:1", id="nothing new"),
        pytest.param([RULE | {"registry": "docker.io"}], "ghcr.io/sd-operator/operator:1", id="of another"),
        pytest.param(
            [{"registry": "ghcr.io", "pathOverride": a_path(new="a/b")}], "ghcr.io/a/b/operator:1", id="path"
        ),
        pytest.param([RULE | {"pathOverride": a_path()}], "mirror.test/operator:1", id="no path"),
        pytest.param(
            [RULE, RULE | {"newRegistry": "other.test"}],
            "other.test/sd-operator/operator:1",
            id="the last counts",
        ),
    ],
)
def test_rules_replace_registry_and_path(rules: list[Object], image: str, tmp_path: Path) -> None:
    plan = kubebb_render.a_plan(tmp_path, set_string=["image.tag=1"])
    found = kubebb_render.beside(tmp_path, {"kind": "Repository", "spec": {"imageOverride": rules}})
    assert kubebb_render.told("plan", ROOT / "charts" / "sd-operator", plan, found)["images"] == [image]


def test_a_plans_own_images_are_replaced_before_the_repositorys_rules(tmp_path: Path) -> None:
    mine = [{"name": "ghcr.io/sd-operator/operator", "newTag": "mine"}]
    plan, found = kubebb_render.a_plan(tmp_path, images=mine), kubebb_render.beside(tmp_path, MIRROR)
    rendered = kubebb_render.told("plan", ROOT / "charts" / "sd-operator", plan, found)
    assert rendered["images"] == ["mirror.test/sd-operator/operator:mine"]
