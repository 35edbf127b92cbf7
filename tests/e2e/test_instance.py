"""An SDInstance's life: waiting for its models, scaling, GPUs, children repaired."""

import pytest
from cluster import ClusterError, Kube
from shapes import bundle, instance, secret, serve


def test_an_instance_waits_for_its_bundle_by_name(kube: Kube) -> None:
    kube.apply(
        secret(),
        instance("early", models=[{"name": "later"}], checkpoint={"bundle": "later", "file": "base"}),
    )
    ready = kube.wait_condition("sdinstance", "early", "Ready", status="False")
    assert "later" in ready["message"]
    kube.apply(bundle("later"))
    kube.wait_condition("sdinstance", "early", "Ready", seconds=300)
    kube.run("delete", "sdinstance/early")


def test_a_file_that_is_not_in_the_bundle_is_named(kube: Kube) -> None:
    kube.apply(bundle(), secret(), instance("wrong", checkpoint={"bundle": "shapes", "file": "absent"}))
    ready = kube.wait_condition("sdinstance", "wrong", "Ready", status="False")
    assert "absent" in ready["message"]
    assert "spec.checkpoint" in ready["message"]
    kube.run("delete", "sdinstance/wrong")


def test_auth_without_a_secret_is_refused_by_the_api_server(kube: Kube) -> None:
    with pytest.raises(ClusterError, match="authSecretRef"):
        kube.apply(instance("open", access={"auth": "Required"}))


def test_scale_one_three_one_zero_one(kube: Kube) -> None:
    serve(kube)
    for replicas in (3, 1):
        kube.run("scale", "sdinstance/shapes", f"--replicas={replicas}")
        kube.wait(
            lambda wanted=replicas: kube.get("sdinstance", "shapes")["status"]["models"]["loaded"] == wanted,
            f"{replicas} loaded",
            180,
        )
        kube.wait(lambda wanted=replicas: len(kube.pods("shapes")) == wanted, f"{replicas} pods", 60)
        assert kube.condition("sdinstance", "shapes", "Ready")["status"] == "True"
    kube.run("scale", "sdinstance/shapes", "--replicas=0")
    kube.wait(
        lambda: kube.condition("sdinstance", "shapes", "Ready").get("reason") == "ScaledToZero",
        "ScaledToZero",
        60,
    )
    kube.wait(lambda: not kube.pods("shapes"), "no pods", 90)
    kube.run("scale", "sdinstance/shapes", "--replicas=1")
    kube.wait(
        lambda: (
            kube.condition("sdinstance", "shapes", "Ready").get("reason") not in ("ScaledToZero", None)
            and kube.condition("sdinstance", "shapes", "Ready").get("status") == "True"
        ),
        "Ready with one replica",
        180,
    )


def test_what_is_deleted_or_changed_by_hand_is_repaired(kube: Kube) -> None:
    serve(kube)
    kube.run("delete", "service/shapes")
    kube.wait(lambda: kube.get("service", "shapes"), "the Service to be back", 60)
    kube.run("set", "env", "deployment/shapes", "-c", "runtime", "SD_DEVICE=cuda")

    def device() -> bool:
        containers = kube.get("deployment", "shapes")["spec"]["template"]["spec"]["containers"]
        return {"name": "SD_DEVICE", "value": "cpu"} in containers[0]["env"]

    kube.wait(device, "the environment to be restored", 60)
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=180)


def test_a_gpu_instance_asks_for_a_gpu_and_does_not_pretend(kube: Kube) -> None:
    """The node's devices do not exist: the pod gets one, and the runtime says that CUDA is not there."""
    kube.apply(bundle(), secret(), instance("gpu", gpu={"backend": "Whole"}))
    pod = kube.wait(lambda: kube.pods("gpu"), "a pod", 120)[0]
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "1"
    assert any(toleration.get("key") == "nvidia.com/gpu" for toleration in pod["spec"]["tolerations"])
    stalled = kube.wait_condition("sdinstance", "gpu", "Stalled", seconds=180)
    assert "CUDA" in stalled["message"]
    assert kube.condition("sdinstance", "gpu", "Ready")["status"] == "False"
    kube.run("delete", "sdinstance/gpu")


def test_an_instance_that_can_admit_nobody_is_not_ready_and_recovers(kube: Kube) -> None:
    half = secret("half-auth") | {"type": "Opaque", "stringData": {"username": "demo"}}
    access = {"authSecretRef": {"name": "half-auth"}, "service": {"type": "ClusterIP"}}
    kube.apply(bundle(), half, instance("half", access=access))
    stalled = kube.wait_condition("sdinstance", "half", "Stalled")
    assert stalled["reason"] == "CredentialsMissing"
    assert "spec.access.authSecretRef" in stalled["message"]
    assert "password" in stalled["message"]
    whole = half | {"stringData": {"username": "demo", "password": "there-now"}}
    kube.apply(whole)
    kube.wait_condition("sdinstance", "half", "Ready", seconds=200)
    kube.run("delete", "sdinstance/half")
