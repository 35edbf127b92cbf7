"""The operator's chart: what it installs, what it refuses, what it says."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from chart_rendering import ROOT, tool
from operator_chart import (
    CHART,
    EVERYTHING,
    NAMESPACE,
    RELEASE,
    environment,
    notes,
    only,
    pods,
    render,
    run,
    template,
)
from pod_security import violations

from sd_operator.settings import Settings, parse_networks

CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
#: Settings that the chart leaves at their defaults; `extraEnv` sets them.
LEFT = {"SDO_WORKERS", "SDO_RECHECK_SECONDS", "SDO_AUDIT_SECONDS"}
SYSCTLS = "podSecurityContext.sysctls"


def test_lint_is_clean() -> None:
    done = run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_the_unit_tests_of_the_templates_pass() -> None:
    done = subprocess.run([tool("helm-unittest"), str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_can_be_set_and_none_is_set_that_there_is_not() -> None:
    known = {f"SDO_{name.upper()}" for name in Settings.model_fields}
    # A file with the key is for running outside of a cluster.
    assert set(environment()) | LEFT == known - {"SDO_KEY_FILE"}


def test_what_the_operator_is_told_are_settings_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = environment(
        "fetch.allowedNetworks={10.0.0.0/8,fd00::/8}",
        "global.imagePullSecrets[0].name=mirror",
        "serviceMonitor.labels.release=prometheus",
        "serviceMonitor.labels.example\\.org/team=",
        "gpu.profiles[0].name=l4",
        "gpu.profiles[0].backend=Whole",
        "gpu.profiles[0].memory=22Gi",
    )
    # Which the pod's own fields tell.
    own = dict.fromkeys(("SDO_NAMESPACE", "SDO_CATALOG_NAMESPACE"), NAMESPACE)
    for name, value in {**told, **own}.items():
        monkeypatch.setenv(name, value)
    found = Settings()
    assert found.fetch_allowed_networks == ("10.0.0.0/8", "fd00::/8")
    assert found.image_pull_secrets == ("mirror",)
    assert found.service_monitor_labels == {"release": "prometheus", "example.org/team": ""}
    assert [profile.name for profile in found.gpu_profiles] == ["l4"]
    assert (found.key_secret, found.catalog_namespace) == (f"{RELEASE}-key", NAMESPACE)


def test_rendering_twice_gives_the_same() -> None:
    assert template(*EVERYTHING) == template(*EVERYTHING)


def test_without_a_cluster_no_secret_is_rendered() -> None:
    assert "Secret" not in {manifest["kind"] for manifest in render(*EVERYTHING)}


def test_every_pod_keeps_to_pod_security_restricted() -> None:
    found = pods(render(*EVERYTHING))
    assert len(found) == 2, "the operator, and the test"
    assert [violations(pod) for pod in found] == [[], []]
    assert all(c["securityContext"]["readOnlyRootFilesystem"] for pod in found for c in pod["containers"])


def test_a_registry_reaches_every_image_also_of_what_the_operator_starts() -> None:
    sets = ("global.imageRegistry=mirror.example:5000",)
    images = [c["image"] for pod in pods(render(*sets)) for c in pod["containers"]]
    told = environment(*sets)
    images += [told["SDO_OPERATOR_IMAGE"], told["SDO_RUNTIME_IMAGE"]]
    assert len(images) == 4
    assert all(image.startswith("mirror.example:5000/sd-operator/") for image in images)


def test_a_digest_counts_instead_of_the_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    told = environment(f"image.digest={digest}", "image.tag=v1", f"runtimeImage.digest={digest}")
    assert told["SDO_OPERATOR_IMAGE"] == f"ghcr.io/sd-operator/operator@{digest}"
    assert told["SDO_RUNTIME_IMAGE"] == f"ghcr.io/sd-operator/runtime@{digest}"


def test_pull_secrets_reach_every_pod() -> None:
    sets = ("global.imagePullSecrets[0].name=a", "global.imagePullSecrets[1].name=b")
    assert all(pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}] for pod in pods(render(*sets)))
    assert environment(*sets)["SDO_IMAGE_PULL_SECRETS"] == "a,b"


def test_images_of_the_annotation_are_those_of_the_defaults() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = {each["image"] for each in yaml.safe_load(chart["annotations"]["artifacthub.io/images"])}
    told = environment()
    assert listed == {told["SDO_OPERATOR_IMAGE"], told["SDO_RUNTIME_IMAGE"]}


def test_the_icon_is_the_projects() -> None:
    kind, _, icon = yaml.safe_load((CHART / "Chart.yaml").read_text())["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(icon) == (ROOT / "docs" / "images" / "icon.svg").read_bytes()


def test_kinds_of_the_annotation_are_those_that_are_installed() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = {each["name"] for each in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])}
    assert listed == {m["metadata"]["name"] for m in render() if m["kind"] == "CustomResourceDefinition"}


@pytest.mark.parametrize("everything", [(), EVERYTHING], ids=["defaults", "everything"])
def test_an_operator_of_one_namespace_without_the_kinds_has_nothing_of_the_cluster(
    everything: tuple[str, ...],
) -> None:
    kinds = {m["kind"] for m in render("watchNamespace=art", "crds.install=false", *everything)}
    assert not kinds & CLUSTER_SCOPED


def test_with_the_kinds_come_their_roles_and_nobody_is_bound_to_them() -> None:
    found = [m for m in render("watchNamespace=art") if m["kind"] in CLUSTER_SCOPED]
    roles = {m["metadata"]["name"] for m in found if m["kind"] != "CustomResourceDefinition"}
    assert roles == {"sdoperator-view", "sdoperator-edit", "sdoperator-admin"}


@pytest.mark.parametrize("release", ["a", "x" * 53], ids=["shortest", "longest"])
def test_whatever_the_release_is_called_its_names_begin_with_it_and_fit(release: str) -> None:
    of_the_kinds = {"CustomResourceDefinition"}
    sets = ("watchNamespace=art", "rbac.aggregateRoles=false", *EVERYTHING)
    found = [m for m in render(*sets, release=release) if m["kind"] not in of_the_kinds]
    assert all(m["metadata"]["name"].startswith(release) for m in found)
    assert all(len(m["metadata"]["name"]) <= 63 for m in found)
    assert all(len(value) <= 63 for m in found for value in m["metadata"]["labels"].values())


@pytest.mark.parametrize("word", ["true", "null", "no", "123", "1e3", "0x1f"])
def test_a_name_that_yaml_reads_as_something_else_stays_a_name(word: str) -> None:
    words = (f"watchNamespace={word}", f"priorityClassName={word}")
    # A release's name may begin with a digit from this version on.
    done = run(
        *("template", word, str(CHART), "--namespace", word, "--kube-version", "1.36.0"),
        *(option for each in words for option in ("--set-string", each)),
        *(option for each in EVERYTHING for option in ("--set", each)),
    )
    assert done.returncode == 0, done.stderr
    for manifest in filter(None, yaml.safe_load_all(done.stdout)):
        if manifest["kind"] == "CustomResourceDefinition":
            continue
        metadata = manifest["metadata"]
        assert isinstance(metadata["name"], str)
        assert metadata.get("namespace", word) == word
        assert metadata["labels"]["app.kubernetes.io/instance"] == word
        for subject in manifest.get("subjects", []):
            assert subject["namespace"] == word
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            assert (pod["serviceAccountName"], pod["priorityClassName"]) == (word, word)
        if manifest["kind"] == "NetworkPolicy":
            (peer,) = manifest["spec"]["egress"][2]["to"]
            assert peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == word


@pytest.mark.parametrize(
    ("release", "version", "why"),
    [
        *((name, "1.37.2", "must have only a-z, 0-9 and -") for name in ("a.b", "1.b")),
        *((name, "1.35.4", "must begin with a letter before Kubernetes 1.36") for name in ("1abc", "123")),
    ],
)
def test_a_release_name_that_no_service_can_begin_with_is_refused(
    release: str, version: str, why: str
) -> None:
    done = run("template", release, str(CHART), "--kube-version", version)
    assert done.returncode != 0
    assert f'the release name is "{release}": a Service called {release}-metrics {why}' in done.stderr


@pytest.mark.parametrize("version", ["1.36.0", "1.36.0-rc.0", "1.37.2-gke.100"])
def test_a_release_name_may_begin_with_a_digit_where_services_may(version: str) -> None:
    done = run("template", "9sd", str(CHART), "--kube-version", version)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "network",
    [
        *("10.0.0.0/99", "10.0.0.1/8", "300.0.0.0/8", "10.0.0/8", "010.0.0.0/8"),
        *(":::/1", "1::2::3/64", "1:2:3/64", "fd00::/129", "1:2:3:4::5:6:7:8/64"),
        *("10.0.0", "10.0.0.256", "1:2:3", "::ffff:10.0.0.1/104", "::ffff:010.0.0.0/104", "1.2.3.4::/32"),
    ],
)
@pytest.mark.parametrize("value", ["allowedNetworks", "refusedNetworks"])
def test_what_the_operator_would_not_take_for_a_network_is_refused(value: str, network: str) -> None:
    with pytest.raises(ValueError):
        parse_networks([network])
    done = run("template", RELEASE, str(CHART), "--set", f"fetch.{value}={{10.0.0.0/8,{network}}}")
    assert done.returncode != 0
    assert f'fetch.{value}[1]: "{network}"' in done.stderr


def test_every_network_that_the_operator_takes_is_taken() -> None:
    networks = (
        *("0.0.0.0/0", "10.0.0.0/8", "192.168.4.0/22", "255.255.255.255/32", "128.0.0.0/1"),
        *("::/0", "fd00::/8", "::1/128", "1:2:3:4:5:6:7:8/128", "2001:DB8::/32", "1:2:3:4:5:6:7::/112"),
        *("10.0.0.1", "::1", "::", "::ffff:10.0.0.0/104", "1:2:3:4:5:6:1.2.3.4", "::255.255.255.255/128"),
    )
    told = environment(f"fetch.allowedNetworks={{{','.join(networks)}}}")["SDO_FETCH_ALLOWED_NETWORKS"]
    assert told == ",".join(networks)
    assert len(parse_networks(told)) == len(networks)


def test_what_stays_when_a_release_is_uninstalled_is_named() -> None:
    (section,) = (CHART / "README.md").read_text().split("## Uninstalling")[1:]
    policies = {
        manifest["metadata"]["name"]: manifest["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        for manifest in render()
        if "helm.sh/hook" in manifest["metadata"].get("annotations", {}) and manifest["kind"] == "Pod"
    }
    staying = [name for name, policy in policies.items() if "hook-succeeded" not in policy]
    assert staying == [f"{RELEASE}-test"]
    assert "`<release>-test`" in section


def test_how_another_release_takes_what_stayed_is_told() -> None:
    """Helm lets a release have only what bears its own name, unless it is told otherwise."""
    (section,) = (CHART / "README.md").read_text().split("## Uninstalling")[1:]
    assert "--take-ownership" in run("install", "--help").stdout
    assert "`--take-ownership`" in section
    assert "`crds.install=false`" in section


def test_everything_in_a_namespace_says_which() -> None:
    sets = ("watchNamespace=art", *EVERYTHING)
    found = [m for m in render(*sets) if m["kind"] not in CLUSTER_SCOPED]
    assert {m["metadata"].get("namespace") for m in found} == {NAMESPACE, "art"}


def test_labels_of_a_user_do_not_change_what_is_selected() -> None:
    deployment = only("Deployment", "podLabels.team=art", "podLabels.app\\.kubernetes\\.io/name=mine")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "art"
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert only("Service")["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("watchNamspace=typo", "watchNamspace"),
        ("logLevel=LOUD", "logLevel"),
        ("image.digest=sha256:1", "digest"),
        ("huggingFaceEndpoint=https://", "/huggingFaceEndpoint"),
        ("huggingFaceEndpoint=http://u:p@hub.example/", "/huggingFaceEndpoint"),
        ("civitaiEndpoint=https://u@hub.example", "/civitaiEndpoint"),
        ("civitaiEndpoint=https:///path", "/civitaiEndpoint"),
        ("extraEnv[0].name=SDO_LOG_LEVEL", "extraEnv: SDO_LOG_LEVEL is set by another value"),
        ("extraEnv[0].valu=1", "valu"),
        ("serviceMonitor.interval=often", "interval"),
        ("serviceMonitor.labels.team=a b", "/serviceMonitor/labels/team"),
        ("serviceMonitor.labels.A/b=x", "'/serviceMonitor/labels': additional properties 'A/b' not allowed"),
        (f"serviceMonitor.labels.{'a' * 254}/b=x", f"'/serviceMonitor/labels/{'a' * 254}~1b'"),
        ("networkPolicy.apiServerPorts={}", "apiServerPorts"),
    ],
)
def test_a_wrong_value_is_refused_by_name(given: str, words: str) -> None:
    done = run("template", RELEASE, str(CHART), "--set", given)
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize(
    "given",
    [
        *("serviceMonitor.labels.a/b/c=d", "serviceMonitor.labels.x/=d"),
        f"serviceMonitor.labels.{'a' * 254}/b=x",
        "gpu.profiles[0].name=l4,gpu.profiles[0].backend=Whole,gpu.profiles[0].memory=1Gi,"
        f"gpu.profiles[0].nodeSelector.{'a' * 320}=x",
    ],
    ids=["two slashes", "no name", "long prefix", "long key"],
)
def test_of_a_wrong_key_no_other_place_is_told(given: str) -> None:
    done = run("template", RELEASE, str(CHART), "--set", given)
    (place,) = (line for line in done.stderr.splitlines() if line.startswith("- at "))
    assert "/serviceMonitor/labels" in place or "/gpu/profiles/0/nodeSelector" in place


def test_without_the_kinds_of_prometheus_nothing_is_left_out_in_silence() -> None:
    kinds = {manifest["kind"] for manifest in render(*EVERYTHING)}
    assert {"ServiceMonitor", "PrometheusRule"} <= kinds
    assert not {"ServiceMonitor", "PrometheusRule"} & {manifest["kind"] for manifest in render()}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("crds.keep=false", "uninstalling this release deletes every SDInstance"),
        ("fetch.allowedNetworks={0.0.0.0/0}", "fetch.allowedNetworks has 0.0.0.0/0"),
        ("watchNamespace=art", "fetch.refusedNetworks is empty"),
        ("huggingFaceEndpoint=http://hub.example", "huggingFaceEndpoint is http://hub.example"),
        ("podSecurityContext.runAsNonRoot=false", "laxer than Pod Security restricted"),
        ("podSecurityContext.runAsUser=0", "laxer than Pod Security restricted"),
        ("podSecurityContext.seccompProfile.type=Unconfined", "laxer than Pod Security restricted"),
        ("podSecurityContext.appArmorProfile.type=Unconfined", "laxer than Pod Security restricted"),
        ("podSecurityContext.seLinuxOptions.type=spc_t", "laxer than Pod Security restricted"),
        ("podSecurityContext.seLinuxOptions.user=system_u", "laxer than Pod Security restricted"),
        ("podSecurityContext.seLinuxOptions.role=system_r", "laxer than Pod Security restricted"),
        (f"{SYSCTLS}[0].name=kernel.sem,{SYSCTLS}[0].value=250 32000", "laxer than Pod Security restricted"),
        ("podSecurityContext.windowsOptions.hostProcess=true", "laxer than Pod Security restricted"),
        ("prometheusRule.enabled=true", "prometheusRule.enabled without serviceMonitor.enabled"),
        ("podSecurityContext.seccompProfile=null", "laxer than Pod Security restricted"),
        ("runtimeImage.tag=latest", "runtimeImage.tag is latest"),
    ],
)
def test_what_is_unsafe_is_warned_of(given: str, words: str) -> None:
    assert any(words in line for line in notes(given).splitlines() if line.startswith("WARNING: "))


@pytest.mark.parametrize(
    "sets",
    [
        (),
        # The cluster chooses.
        ("podSecurityContext.runAsUser=null", "podSecurityContext.runAsGroup=null"),
        ("podSecurityContext.seccompProfile.type=Localhost",),
        (f"{SYSCTLS}[0].name=net.ipv4.tcp_rmem", f"{SYSCTLS}[0].value=4096 65536 1048576"),
        ("podSecurityContext.seLinuxOptions.level=s0:c1", "podSecurityContext.seLinuxOptions.type="),
        ("podSecurityContext.seLinuxOptions.type=container_engine_t",),
        ("podSecurityContext.windowsOptions.hostProcess=false",),
        ("prometheusRule.enabled=true", "serviceMonitor.enabled=true"),
    ],
)
def test_of_what_is_safe_there_is_nothing_to_warn(sets: tuple[str, ...]) -> None:
    said = notes(*sets)
    assert "helm -n ops test operator" in said
    assert "WARNING" not in said


@pytest.mark.parametrize(
    "given", ["podSecurityContext.runAsUser=null", "podSecurityContext.seccompProfile.type=Localhost"]
)
def test_of_a_pod_that_restricted_takes_there_is_nothing_to_warn(given: str) -> None:
    assert "WARNING" not in notes(given)


def test_the_dashboard_is_the_file_whole() -> None:
    (text,) = only("ConfigMap", "dashboard.enabled=true")["data"].values()
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_what_is_only_for_making_the_chart_is_not_packaged(tmp_path: Path) -> None:
    done = subprocess.run(
        [tool("helm"), "package", str(CHART), "--destination", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    archive = done.stdout.strip().rpartition(" ")[2]
    names = subprocess.run(["tar", "-tf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert "sd-operator/files/dashboard.json" in names
    assert not [name for name in names if name.endswith((".gotmpl", "_test.yaml"))]
