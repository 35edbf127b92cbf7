"""The demo's objects as the tests apply them, and what a picture of the demo model shows."""

import base64
import io
import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cluster import Kube, Manifest
from PIL import Image

from demo.judge import reading

USER, PASSWORD = "demo", "shapes-and-colours"
API = "sdoperator.dev/v1alpha1"
HUB_FILE = {"repo": "sd-operator/demo-sd15", "revision": "main", "path": "demo-sd15.safetensors"}
Pixels = npt.NDArray[np.int16]


def bundle(name: str = "shapes", *, file: Manifest | None = None) -> Manifest:
    entry = {"name": "base", "type": "Checkpoint", "source": {"huggingFace": HUB_FILE}} | (file or {})
    return {
        "apiVersion": API,
        "kind": "ModelBundle",
        "metadata": {"name": name},
        "spec": {"files": [entry], "storage": {"size": "1Gi"}},
    }


def secret(name: str = "shapes-auth") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/basic-auth",
        "stringData": {"username": USER, "password": PASSWORD},
    }


def instance(name: str = "shapes", **spec: Any) -> Manifest:
    defaults: Manifest = {
        "models": [{"name": "shapes"}],
        "checkpoint": {"bundle": "shapes", "file": "base"},
        "gpu": {"backend": "None"},
        "access": {"authSecretRef": {"name": "shapes-auth"}, "service": {"type": "NodePort"}},
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}},
    }
    return {"apiVersion": API, "kind": "SDInstance", "metadata": {"name": name}, "spec": defaults | spec}


def serve(kube: Kube) -> None:
    """A bundle and an instance, Ready."""
    kube.apply(bundle(), secret(), instance())
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)


def call(
    url: str, path: str, body: Manifest | None = None, *, auth: bool = True, seconds: float = 120
) -> Any:
    """JSON of a request; urllib.error.HTTPError for a status of 400 or more."""
    request = urllib.request.Request(f"{url}{path}", data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if auth:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=seconds) as response:
        return json.load(response)


def status_of(url: str, path: str, body: Manifest | None = None, *, auth: bool = True) -> tuple[int, Any]:
    try:
        return 200, call(url, path, body, auth=auth)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def ask(prompt: str, **fields: Any) -> Manifest:
    small = {"width": 64, "height": 64, "steps": 20, "cfg_scale": 3, "seed": 1, "sampler_name": "Euler"}
    return small | {"prompt": prompt} | fields


def image(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def pixels(encoded: str) -> Pixels:
    """(height, width, 3), 0 to 255, signed so that differences do not wrap."""
    return np.asarray(image(encoded).convert("RGB")).astype(np.int16)


def agreement(encoded: list[str], prompts: list[str]) -> list[dict[str, bool]]:
    """Which attributes of its prompt each picture shows, as the independent judge reads it."""
    seen = np.stack([np.asarray(image(picture).convert("RGB")) for picture in encoded])
    return reading.shipped().agreement(torch.from_numpy(seen).permute(0, 3, 1, 2), prompts)
