"""kubectl as an object: what the end-to-end tests ask of the cluster. Only this module starts kubectl."""

import contextlib
import json
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
OPERATOR_NAMESPACE = "sd-operator"


class ClusterError(AssertionError):
    """kubectl refused; the message is its own."""


@dataclass(frozen=True)
class Cluster:
    environment: dict[str, str]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            ["kubectl", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def operator_pod(self) -> str:
        selector = "app.kubernetes.io/name=sd-operator,app.kubernetes.io/component=operator"
        pods = json.loads(self.run("-n", OPERATOR_NAMESPACE, "get", "pods", "-l", selector, "-o", "json"))[
            "items"
        ]
        running = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        assert len(running) == 1, [pod["metadata"]["name"] for pod in pods]
        return str(running[0]["metadata"]["name"])

    def kill_operator(self) -> None:
        self.run(
            "-n", OPERATOR_NAMESPACE, "delete", "pod", self.operator_pod(), "--grace-period=0", "--force"
        )

    def wait_operator(self) -> None:
        self.run("-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment/sd-operator", "--timeout=120s")

    def pod_metrics(self, namespace: str, pod: str, port: int) -> dict[str, float]:
        """A pod's Prometheus samples, by series, asked for through the API server."""
        text = self.run("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics")
        samples = re.findall(r"^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)$", text, re.M)
        return {series: float(value) for series, value in samples}

    def settled_writes(self) -> float:
        """The operator's writes once it has come to rest and namespaces of other tests are gone."""
        seen, since, deadline = -1.0, time.monotonic(), time.monotonic() + 300
        while time.monotonic() - since < 5:
            assert time.monotonic() < deadline, "the operator goes on writing, or a namespace does not go"
            now = self.operator_writes()
            if now != seen or "Terminating" in self.run("get", "namespaces"):
                seen, since = now, time.monotonic()
            time.sleep(0.5)
        return seen

    def operator_writes(self) -> float:
        return sum(self.writes_by_kind().values())

    def writes_by_kind(self) -> Counter[str]:
        """What the operator wrote since it began, as `verb kind` and how often."""
        samples = self.pod_metrics(OPERATOR_NAMESPACE, self.operator_pod(), 9090)
        counted: Counter[str] = Counter()
        for series, value in samples.items():
            if series.startswith("sdo_api_writes_total"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', series))
                counted[f"{labels['verb']} {labels['kind']}"] += int(value)
        return counted


@dataclass(frozen=True)
class Kube:
    """One namespace of the cluster."""

    cluster: Cluster
    namespace: str

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.run("-n", self.namespace, *arguments, stdin=stdin)

    def create_namespace(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": labels},
        }
        self.cluster.run("apply", "-f", "-", stdin=json.dumps(manifest))
        self.wait(
            lambda: "default" in self.run("get", "serviceaccounts", "-o", "name"),
            "the default service account",
            30,
        )

    def delete_namespace(self) -> None:
        self.cluster.run("delete", "namespace", self.namespace, "--wait=false")

    def apply(self, *manifests: Manifest) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.run("apply", "-f", "-", stdin=json.dumps(document))

    def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def items(self, kind: str, selector: str = "") -> list[Manifest]:
        found: list[Manifest] = json.loads(self.run("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def wait(self, condition: Callable[[], Any], what: str, seconds: float) -> Any:
        """The first true value of the condition; ClusterError when the time is up."""
        deadline, last = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
            except (ClusterError, OSError, KeyError) as error:
                last = str(error)
            time.sleep(0.5)
        events = self.run("get", "events", "--sort-by=.lastTimestamp").splitlines()[-15:]
        raise ClusterError(f"after {seconds:.0f} s still waiting for {what}; {last}\n" + "\n".join(events))

    def condition(self, kind: str, name: str, type_: str) -> Manifest:
        """The named condition, {} while there is none or while it speaks of an older generation."""
        found = self.get(kind, name)
        for condition in found.get("status", {}).get("conditions", []):
            if (
                condition["type"] == type_
                and condition.get("observedGeneration") == found["metadata"]["generation"]
            ):
                return dict(condition)
        return {}

    def wait_condition(
        self, kind: str, name: str, type_: str, *, status: str = "True", seconds: float = 180
    ) -> Manifest:
        def reached() -> Manifest | None:
            condition = self.condition(kind, name, type_)
            return condition if condition.get("status") == status else None

        try:
            reached_condition: Manifest = self.wait(reached, f"{type_}={status} of {kind} {name}", seconds)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.run('get', kind, name, '-o', 'yaml')}") from error
        return reached_condition

    def pods(self, instance: str) -> list[Manifest]:
        """The serving pods of an SDInstance that are not on their way out."""
        pods = self.items("pods", f"sdoperator.dev/instance={instance}")
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    @contextlib.contextmanager
    def service_url(self, name: str) -> Iterator[str]:
        """An address of the Service on this machine: its node port, else (no such route) a port-forward."""
        port = self.get("service", name)["spec"]["ports"][0].get("nodePort")
        if port and _listens(port):
            yield f"http://127.0.0.1:{port}"
            return
        with subprocess.Popen(
            ["kubectl", "-n", self.namespace, "port-forward", f"service/{name}", ":7860"],
            env=self.cluster.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as forward:
            try:
                assert forward.stdout is not None
                match = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
                assert match, "kubectl port-forward did not start"
                yield f"http://127.0.0.1:{match.group(1)}"
            finally:
                forward.terminate()


def _listens(port: int) -> bool:
    for _ in range(20):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
        time.sleep(0.5)
    return False
