"""What `helm test` runs in the operator's image: the operator is healthy, its kinds are served, and the API
server judges an SDInstance by them (dry runs: nothing is made). With Python's own library alone."""

import json
import os
import pathlib
import ssl
import sys
import urllib.error
import urllib.request
from typing import Any

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "/apis/sdoperator.dev/v1alpha1"
KINDS = {"sdinstances", "modelbundles", "sdplugins"}


def call(request: urllib.request.Request | str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and body, of a refusal, too; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(request, timeout=20, **options) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        text = refusal.read().decode(errors="replace")
        return refusal.code, json.loads(text) if text.startswith("{") else {"message": text}
    except OSError as error:
        return 0, {"message": str(error)}


def ask(path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """The same of the API server."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(
        f"https://{host}:{port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/json",
        },
    )
    return call(request, context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")))


def try_instance(spec: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """An SDInstance that is not made."""
    path = f"{GROUP}/namespaces/{os.environ['NAMESPACE']}/sdinstances?dryRun=All&fieldValidation=Strict"
    metadata = {"name": "helm-test"}
    return ask(
        path,
        {"apiVersion": "sdoperator.dev/v1alpha1", "kind": "SDInstance", "metadata": metadata, "spec": spec},
    )


def check() -> str | None:
    """What is wrong; None when nothing is."""
    status, health = call(os.environ["HEALTH"])
    if status != 200:
        return f"the operator is not healthy: {status} {health.get('message') or health}"
    status, group = ask(GROUP)
    served = {resource["name"] for resource in group.get("resources", [])}
    if not served >= KINDS:
        missing = ", ".join(sorted(KINDS - served))
        return f"{missing} not served by the API server: {status} {group.get('message', '')}"
    spec = {
        "models": [{"name": "models"}],
        "checkpoint": {"bundle": "models", "file": "base"},
        "access": {"authSecretRef": {"name": "login"}},
    }
    status, answer = try_instance(spec)
    if status != 201:
        return f"an SDInstance is not accepted: {status} {answer.get('message')}"
    status, answer = try_instance({**spec, "replicas": -1})
    if status != 422 or "spec.replicas" not in answer.get("message", ""):
        return f"an SDInstance of -1 replicas is not refused for it: {status} {answer.get('message')}"
    return None


if __name__ == "__main__":
    wrong = check()
    sys.stdout.write(f"{wrong or 'The operator is healthy, and its kinds are served.'}\n")
    sys.exit(1 if wrong else 0)
