"""The manifests of the children: whole where they are small, their promises where they are large."""

import json
from typing import Any

import pytest
from operator_fakes import SHA, bundle, file, instance

from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.fetching import job_name, request
from sd_operator.api.instance import SDInstance
from sd_operator.bundle.children.claim import build_claim, size_note, size_to_ask
from sd_operator.bundle.children.job import FetchSettings, build_job
from sd_operator.fetch import request as fetcher
from sd_operator.instance.checkpoint import Checkpoint, written_on
from sd_operator.instance.children.deployment import RuntimeSettings, build_deployment, default_memory_mib
from sd_operator.instance.children.service import build_service

FETCH = FetchSettings(image="operator:1", image_pull_policy="Never", hf_endpoint="https://hf.example.org")
RUNTIME = RuntimeSettings(image="runtime:1", image_pull_policy="IfNotPresent")
CHECKPOINT = Checkpoint(bundle="sd15", file="base", path="models/x.safetensors", sha256=SHA, size=2 * 2**30)
LABELS = {
    "app.kubernetes.io/name": "sd-instance",
    "app.kubernetes.io/instance": "demo",
    "app.kubernetes.io/managed-by": "sd-operator",
    "app.kubernetes.io/component": "runtime",
    "sdoperator.dev/instance": "demo",
}


def a_bundle(**spec: Any) -> ModelBundle:
    manifest = bundle(**spec)
    manifest["metadata"]["uid"] = "bundle-uid"
    return parse(ModelBundle, manifest)


def an_instance(**spec: Any) -> SDInstance:
    manifest = instance(**spec)
    manifest["metadata"]["uid"] = "instance-uid"
    return parse(SDInstance, manifest)


def deployment(**spec: Any) -> dict[str, Any]:
    return build_deployment(an_instance(**spec), CHECKPOINT, token_sha256="t" * 64, settings=RUNTIME)


def pod(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = deployment(**spec)["spec"]["template"]["spec"]
    return found


def container(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = pod(**spec)["containers"][0]
    return found


def environment(**spec: Any) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(**spec)["env"]}


def test_the_claim() -> None:
    assert build_claim(a_bundle(), size="20Gi") == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "sd15-models",
            "namespace": "ns",
            "labels": {
                "app.kubernetes.io/name": "sd-bundle",
                "app.kubernetes.io/instance": "sd15",
                "app.kubernetes.io/managed-by": "sd-operator",
                "app.kubernetes.io/component": "models",
                "sdoperator.dev/bundle": "sd15",
            },
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}},
    }


def a_claim(size: str, capacity: str | None = None) -> dict[str, Any]:
    status = {"capacity": {"storage": capacity}} if capacity else {}
    return {"spec": {"resources": {"requests": {"storage": size}}}, "status": status}


@pytest.mark.parametrize(
    ("wanted", "live", "asked", "noted"),
    [
        pytest.param("20Gi", None, "20Gi", False, id="no claim yet"),
        pytest.param("20Gi", a_claim("10Gi", "10Gi"), "20Gi", False, id="it grows"),
        pytest.param("20Gi", a_claim("30Gi", "30Gi"), "30Gi", True, id="it never shrinks"),
        pytest.param("1024Mi", a_claim("1Gi", "1Gi"), "1024Mi", False, id="in other words"),
        pytest.param("20Gi", a_claim("20Gi", "100Gi"), "20Gi", False, id="it got more than asked for"),
        pytest.param("20Gi", a_claim("40Gi", "10Gi"), "20Gi", False, id="an expansion is taken back"),
        pytest.param("20Gi", a_claim("40Gi", "20Gi"), "40Gi", True, id="what is there cannot be asked again"),
        pytest.param("20Gi", a_claim("30Gi"), "30Gi", True, id="not bound yet"),
    ],
)
def test_the_claim_grows_and_never_shrinks(
    wanted: str, live: dict[str, Any] | None, asked: str, noted: bool
) -> None:
    of = a_bundle(storage={"size": wanted})
    assert size_to_ask(of, live) == asked
    note = size_note(of, asked)
    assert (note is not None and f"spec.storage.size: {wanted}" in note) is noted


def test_a_storage_class_is_asked_for_only_when_named() -> None:
    assert "storageClassName" not in build_claim(a_bundle(), size="20Gi")["spec"]
    named = a_bundle(storage={"storageClassName": "fast", "accessModes": ["ReadWriteMany"]})
    spec = build_claim(named, size="20Gi")["spec"]
    assert (spec["storageClassName"], spec["accessModes"]) == ("fast", ["ReadWriteMany"])


def test_the_fetch_job() -> None:
    of = a_bundle(files=[file(sha256=SHA.upper())], family="SD15")
    job = build_job(of, of.spec.files[0], claim_uid="claim-uid", settings=FETCH)
    template = job["spec"]["template"]
    (fetch,) = template["spec"]["containers"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == "bundle-uid"
    assert job["metadata"]["annotations"] == {"sdoperator.dev/claim-uid": "claim-uid"}
    assert job["metadata"]["labels"]["sdoperator.dev/file"] == "base"
    assert template["metadata"]["labels"] == job["metadata"]["labels"]
    assert (fetch["image"], fetch["imagePullPolicy"]) == ("operator:1", "Never")
    assert fetch["command"] == ["python", "-m", "sd_operator.fetch"]
    env = {item["name"]: item["value"] for item in fetch["env"]}
    assert json.loads(env.pop("SD_FETCH_FILE")) == {
        "bundle": "sd15",
        "family": "SD15",
        "file": {
            "name": "base",
            "type": "Checkpoint",
            "source": {"http": {"url": "https://models.example.org/base.safetensors"}},
            "sha256": SHA,
            "fileName": "base.safetensors",
        },
    }
    assert env == {"SD_FETCH_ROOT": "/volume", "HF_ENDPOINT": "https://hf.example.org"}
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": "sd15-models"}
    assert (template["spec"]["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 4)
    assert job["spec"]["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize(
    "source",
    [
        {"http": {"url": "https://models.example.org/some%20model.safetensors?x=1"}},
        {"huggingFace": {"repo": "owner/name", "path": "sub/model.safetensors"}},
    ],
    ids=["http", "huggingFace"],
)
def test_the_fetcher_understands_what_it_is_asked(source: dict[str, Any]) -> None:
    of = a_bundle(files=[file(source=source)])
    understood = fetcher.parse(json.dumps(request(of, of.spec.files[0])))
    assert understood.bundle == "sd15"
    assert understood.file.file_name == of.spec.files[0].implied_file_name()


def test_another_wish_for_a_file_is_another_job() -> None:
    def name(family: str = "Auto", **fields: Any) -> str:
        of = a_bundle(files=[file(**fields)], family=family)
        return job_name(of, of.spec.files[0])

    assert name() == name(fileName="base.safetensors")  # said or implied: the same
    assert len({name(), name(family="SD15"), name(sha256=SHA), name(fileName="x.safetensors")}) == 4
    assert name(sha256=SHA) == name(sha256=SHA.upper())


def test_the_service() -> None:
    assert build_service(an_instance(access={"auth": "Disabled", "service": {"type": "NodePort"}})) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "demo",
            "namespace": "ns",
            "labels": LABELS,
            "ownerReferences": [
                {
                    "apiVersion": "sdoperator.dev/v1alpha1",
                    "kind": "SDInstance",
                    "name": "demo",
                    "uid": "instance-uid",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "type": "NodePort",
            "selector": {"sdoperator.dev/instance": "demo"},
            "sessionAffinity": "ClientIP",
            "ports": [{"name": "http", "port": 7860, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def test_the_runtime_is_told_everything_by_its_environment() -> None:
    assert environment(models=[{"name": "sd15"}, {"name": "more"}]) == {
        "HOME": "/tmp",
        "SD_MODEL_ROOTS": "/bundles/sd15:/bundles/more",
        "SD_CHECKPOINT": "/bundles/sd15/models/x.safetensors",
        "SD_DEVICE": "cpu",
        "SD_OUTPUT_DIR": "/outputs",
        "SD_AUTH": "required",
        "SD_AUTH_DIR": "/etc/sd-runtime/auth",
        "SD_MANAGEMENT_TOKEN_SHA256": "t" * 64,
        "SD_DRAIN_SECONDS": "110",
    }


def test_the_pods_carry_the_checkpoint_they_are_for() -> None:
    assert written_on(deployment()["spec"]["template"]) == CHECKPOINT


def test_every_bundle_is_mounted_read_only() -> None:
    models = [{"name": "sd15"}, {"name": "m" * 63}]
    mounts = {mount["mountPath"]: mount for mount in container(models=models)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(models=models)["volumes"]}
    for name in ("sd15", "m" * 63):
        mount = mounts[f"/bundles/{name}"]
        assert mount["readOnly"] is True
        assert len(mount["name"]) <= 63
        assert volumes[mount["name"]]["persistentVolumeClaim"] == {"claimName": f"{name}-models"}


def test_the_secret_is_mounted_when_it_is_needed_and_only_then() -> None:
    assert {"name": "auth", "secret": {"secretName": "login", "defaultMode": 0o440}} in pod()["volumes"]
    open_to_all = {"auth": "Disabled", "authSecretRef": {"name": "login"}}
    assert "auth" not in {volume["name"] for volume in pod(access=open_to_all)["volumes"]}
    assert environment(access=open_to_all)["SD_AUTH"] == "disabled"


def test_a_whole_gpu_is_a_limit_a_toleration_and_no_fallback() -> None:
    whole = {"gpu": {"backend": "Whole"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}
    assert container(**whole)["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod(**whole)["tolerations"] == [
        {"key": "spot", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists"},
    ]
    assert environment(**whole)["SD_DEVICE"] == "cuda"
    assert "limits" not in container()["resources"]
    assert "tolerations" not in pod()


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
def test_requests_are_filled_in_where_the_user_said_nothing(
    given: dict[str, Any] | None, requests: dict[str, Any]
) -> None:
    assert container(resources=given)["resources"]["requests"] == requests


@pytest.mark.parametrize(("size", "mib"), [(0, 1024), (1, 1024), (100 * 2**20, 1280), (4 * 2**30, 7168)])
def test_the_default_memory_grows_with_the_checkpoint(size: int, mib: int) -> None:
    assert default_memory_mib(size) == mib


def test_what_kubernetes_has_words_for_is_passed_on() -> None:
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    spec = pod(
        nodeSelector={"gpu": "big"},
        affinity=affinity,
        runtimeClassName="nvidia",
        imagePullSecrets=[{"name": "registry"}],
        image="mine:2",
    )
    assert spec["nodeSelector"] == {"gpu": "big"}
    assert spec["affinity"] == affinity
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["containers"][0]["image"] == "mine:2"


def test_what_would_change_the_pods_if_somebody_added_it_is_said_although_it_is_the_default() -> None:
    assert deployment()["spec"]["paused"] is False
    assert pod()["nodeSelector"] == {}
    assert (container()["command"], container()["args"]) == (["python", "-m", "sd_runtime"], [])


def test_probes_ask_the_management_port_and_give_a_slow_load_its_time() -> None:
    probed = container()
    startup = probed["startupProbe"]
    assert (
        startup["httpGet"] == probed["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "management"}
    )
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800
    assert probed["livenessProbe"]["httpGet"]["path"] == "/healthz"


def fetch_pod() -> dict[str, Any]:
    of = a_bundle()
    job = build_job(of, of.spec.files[0], claim_uid="u", settings=FETCH)
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("spec", [fetch_pod(), pod()], ids=["fetch", "runtime"])
def test_pods_fit_pod_security_restricted_and_have_no_rights(spec: dict[str, Any]) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in spec
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in spec["containers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
    allowed = {"persistentVolumeClaim", "emptyDir", "secret"}
    assert all(set(volume) - {"name"} <= allowed for volume in spec["volumes"])
