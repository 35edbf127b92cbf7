"""The chart sd-instance: its values reach every field, refuse what the kinds do; its test knows a picture.

That what it renders is what the kinds take is test_manifests.py's to say; how values become fields, the
chart's own tests/.
"""

import base64
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import chart_rendering as charts
import pytest
import yaml
from PIL import Image

ROOT = charts.ROOT
CHART = ROOT / "charts" / "sd-instance"
EVERYTHING = CHART / "ci" / "everything-values.yaml"


def template(*arguments: str, values: dict[str, Any] | None = None) -> Any:
    """The rendered documents, or the error as text."""
    done = subprocess.run(
        [
            charts.tool("helm"),
            "template",
            "art",
            str(CHART),
            "--namespace",
            "team",
            "--values",
            "-",
            *arguments,
        ],
        input=yaml.safe_dump(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return charts.manifests(done.stdout) if done.returncode == 0 else done.stderr


def notes(values: dict[str, Any] | None = None) -> str:
    """What `helm install` says, without a cluster."""
    done = subprocess.run(
        [
            charts.tool("helm"),
            "install",
            "art",
            str(CHART),
            "-n",
            "team",
            "--dry-run=client",
            "--values",
            "-",
        ],
        input=yaml.safe_dump(values or {}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split("NOTES:", 1)[1]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in documents if each["kind"] == kind]


def crd_spec(plural: str) -> dict[str, Any]:
    crd = yaml.safe_load((ROOT / "crds" / f"sdoperator.dev_{plural}.yaml").read_text())
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def test_every_field_of_the_kind_can_be_reached_by_a_value() -> None:
    scaled = template("--values", str(EVERYTHING))
    fixed = template()
    found = {key for documents in (scaled, fixed) for key in of_kind(documents, "SDInstance")[0]["spec"]}
    assert found == set(crd_spec("sdinstances")["properties"])


def test_without_values_it_serves_what_the_example_serves() -> None:
    documents = template()
    example = list(yaml.safe_load_all((ROOT / "examples" / "sd15.yaml").read_text()))
    assert of_kind(documents, "ModelBundle")[0]["spec"] == of_kind(example, "ModelBundle")[0]["spec"]
    own, theirs = (of_kind(each, "SDInstance")[0]["spec"] for each in (documents, example))
    assert own["resources"] == theirs["resources"]
    assert own["checkpoint"]["file"] == theirs["checkpoint"]["file"]


REFUSED = {
    "a field that there is not": ({"imagee": {}}, "imagee"),
    "a negative number of pods": ({"replicas": -1}, "/replicas"),
    "a backend that there is not": ({"gpu": {"backend": "Half"}}, "/gpu/backend"),
    "memory that is no quantity": ({"gpu": {"memory": "much"}}, "/gpu/memory"),
    "a plugin without a name": ({"plugins": [{"nme": "x"}]}, "/plugins/0"),
    "a type of Service that there is not": (
        {"access": {"service": {"type": "Node"}}},
        "/access/service/type",
    ),
    "a host with a scheme": ({"access": {"ingress": {"host": "https://a"}}}, "/access/ingress/host"),
    "limits under another name": ({"resources": {"limts": {}}}, "/resources"),
    "an access mode that there is not": ({"outputs": {"accessModes": ["RWX"]}}, "/outputs/accessModes/0"),
    "an operator of a toleration": ({"tolerations": [{"operator": "Is"}]}, "/tolerations/0/operator"),
    "a variable without a name": ({"env": [{"value": "x"}]}, "/env/0"),
    "a name in capitals": ({"name": "Art"}, "/name"),
    "a name of more than 63 letters": ({"name": "a" * 64}, "/name"),
    "more bundles than an instance takes": (
        {"existingModels": [f"b{n}" for n in range(17)]},
        "/existingModels",
    ),
    "a bundle without a spec": ({"models": [{"name": "x"}]}, "/models/0"),
    "a bundle of no known family": ({"models": [{"spec": {"family": "SD3", "files": []}}]}, "/models/0/spec"),
    "a bundle with a field misspelt": ({"models": [{"spec": {"flies": []}}]}, "/models/0/spec"),
    "a user name with a colon": ({"auth": {"username": "a:b"}}, "/auth/username"),
    "a user name with a newline": ({"auth": {"username": "admin\n"}}, "/auth/username"),
    "a password with a newline": (
        {"auth": {"password": "only-for-tests\n"}},
        "auth.password has a control character",
    ),
    "a size that no picture has": ({"test": {"width": 500}}, "/test/width"),
}


@pytest.mark.parametrize(("values", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_values_that_the_kinds_would_refuse_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    said = template(values=values)
    assert isinstance(said, str), "was rendered"
    assert named in said


def test_the_longest_name_is_taken_whole() -> None:
    name = "a" * 63
    documents = template(values={"name": name})
    assert of_kind(documents, "SDInstance")[0]["metadata"]["name"] == name
    assert of_kind(documents, "ModelBundle")[0]["metadata"]["name"] == name


def test_a_refused_password_is_not_told() -> None:
    said = template(values={"auth": {"password": "only-for-tests\r\n"}})
    assert "auth.password" in said
    assert "only-for-tests" not in said


ROADS: dict[str, dict[str, Any]] = {
    "in the cluster": {},
    "a LoadBalancer": {"service": {"type": "LoadBalancer"}},
    "a NodePort": {"service": {"type": "NodePort"}},
    "an ingress": {"ingress": {"host": "art.example.org"}},
}


@pytest.mark.parametrize("access", ROADS.values(), ids=ROADS.keys())
def test_the_notes_forward_the_port_that_their_request_is_sent_to(access: dict[str, Any]) -> None:
    said = notes({"access": access})
    forwarded, request = said.index("kubectl port-forward -n team service/art 7860"), said.index("curl ")
    assert forwarded < said.index("through the port-forward") < request
    assert ("Address outside:" in said) is bool(access)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"suspend": True}, "is suspended"), ({"replicas": 0}, "has no pods (replicas is 0)")],
    ids=["suspended", "no pods"],
)
def test_the_notes_recommend_nothing_that_nobody_answers(values: dict[str, Any], words: str) -> None:
    said = notes(values)
    assert words in said
    assert "curl" not in said and "helm test" not in said
    assert "\n\n\n" not in said
    # The autoscaler does not look at replicas.
    scaled = notes({"replicas": 0, "autoscaling": {"enabled": True}})
    assert "has no pods" not in scaled and "helm test" in scaled


def test_the_notes_tell_no_address_with_a_star() -> None:
    said = notes({"access": {"ingress": {"host": "*.example.org"}}})
    assert "Address outside:        http://NAME.example.org with any NAME" in said
    assert "*.example.org" not in said


@pytest.mark.parametrize(("seconds", "waits"), [(1_000_000, 1_000_300), (123_456_789, 123_457_089)])
def test_a_long_time_is_told_in_digits(seconds: int, waits: int) -> None:
    """Of a large number in a file of values Helm makes 1e+06, which the test's pod cannot read."""
    values = {"test": {"timeoutSeconds": seconds}}
    (pod,) = of_kind(template(values=values), "Pod")
    environment = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert environment["TIMEOUT_SECONDS"] == str(seconds)
    assert f"--timeout {waits}s" in notes(values)
    assert f"It waits {seconds} s" in notes(values)


def test_helm_is_told_to_wait_longer_than_its_test_does() -> None:
    """Else Helm gives up first, and why there is no picture is not told."""
    given: list[dict[str, Any]] = [{}, {"test": {"timeoutSeconds": 90}}]
    for values in given:
        (pod,) = of_kind(template(values=values), "Pod")
        environment = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
        (waits,) = re.findall(r"helm test art -n team --timeout (\d+)s", notes(values))
        assert int(waits) >= int(environment["TIMEOUT_SECONDS"]) + 60


def test_the_notes_tell_where_a_failed_test_says_why() -> None:
    (pod,) = of_kind(template(), "Pod")
    assert f"kubectl logs -n team {pod['metadata']['name']}" in notes()


def test_the_readmes_test_waits_longer_than_its_pod_and_the_pod_for_a_first_fetch() -> None:
    waits = yaml.safe_load((CHART / "values.yaml").read_text())["test"]["timeoutSeconds"]
    assert waits >= 20 * 60
    for readme in (CHART / "README.md", ROOT / "README.md", ROOT / "README.zh.md"):
        (minutes,) = re.findall(r"helm test art --namespace art --timeout (\d+)m", readme.read_text())
        assert int(minutes) * 60 >= waits + 60, readme


def test_the_readme_names_the_values_of_the_tests_image() -> None:
    own = (CHART / "README.md").read_text().partition("## Images")[2].partition("\n## ")[0]
    for words in ("global.imageRegistry=", "test.image.registry=", "test.image.tag="):
        assert words in own


def test_its_marks_for_marketplaces_are_true() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    operators = yaml.safe_load((ROOT / "charts" / "sd-operator" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (operators["version"], operators["appVersion"])
    assert base64.b64decode(chart["icon"].rpartition(",")[2]) == (ROOT / "docs/images/icon.svg").read_bytes()
    (pod,) = of_kind(template(), "Pod")
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert [each["image"] for each in images] == [pod["spec"]["containers"][0]["image"]]
    assert " / " in chart["annotations"]["core.kubebb.k8s.com.cn/displayname"]


def png(colour: tuple[int, int, int] | None = None, size: tuple[int, int] = (64, 64)) -> bytes:
    """A picture as the runtime sends it: of one colour, or of several."""
    image = Image.new("RGB", size, colour or (200, 30, 30))
    if colour is None:
        image.paste((30, 30, 200), (10, 10, 40, 50))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


Answer = tuple[int, bytes]


class Service:
    """A server that gives its answers one after the other, and the last of them for ever."""

    def __init__(self, answers: list[Answer]) -> None:
        self.heard: list[tuple[str | None, dict[str, Any]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.heard.append((self.headers["Authorization"], json.loads(body)))
                code, content = answers[0] if len(answers) == 1 else answers.pop(0)
                self.send_response(code)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))


def sent(*pictures: bytes) -> Answer:
    return 200, json.dumps({"images": [base64.b64encode(each).decode() for each in pictures]}).encode()


@pytest.fixture
def asked(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Any]:
    """Runs the script of `helm test` against a service with the parameter's answers."""
    service = Service(request.param)
    service.thread.start()
    # As `kubectl create secret --from-file` takes files along: the runtime drops the ends of lines.
    (tmp_path / "username").write_bytes(b"admin\r\n")
    (tmp_path / "password").write_bytes(b"only-for-tests\n")
    environment = {
        "SERVICE": service.address,
        "PROMPT": "a circle",
        "WIDTH": "64",
        "HEIGHT": "64",
        "STEPS": "4",
    }
    environment |= {"TIMEOUT_SECONDS": "4", "LOGIN": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", (CHART / "files" / "picture.py").read_text()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    yield done, service.heard
    service.server.shutdown()
    service.thread.join()
    service.server.server_close()


@pytest.mark.parametrize("asked", [[(503, b"loading"), sent(png())]], indirect=True)
def test_the_test_waits_for_a_picture(asked: Any) -> None:
    done, heard = asked
    assert done.returncode == 0, done.stderr
    assert "no picture yet: HTTP 503: loading" in done.stdout
    assert "a picture of 64x64" in done.stdout
    authorization, wish = heard[-1]
    assert authorization == "Basic " + base64.b64encode(b"admin:only-for-tests").decode()
    assert (wish["width"], wish["height"], wish["steps"]) == (64, 64, 4)


FAULTS: dict[str, tuple[Answer, str]] = {
    "of one colour": (sent(png((0, 0, 0))), "of one colour"),
    "white": (sent(png((255, 255, 255))), "of one colour"),
    "of another size": (sent(png(size=(64, 32))), "64x32 with 8 bits, not 64x64"),
    "cut off": (sent(png()[:-20]), "is not whole"),
    "no PNG": (sent(b"GIF89a"), "what came is no PNG"),
    "refused": ((401, b"who are you"), "refuses the request: HTTP 401: who are you"),
    "never ready": ((503, b"loading"), "no picture within 4 s; the last answer: HTTP 503: loading"),
}


@pytest.mark.parametrize(
    ("asked", "named"),
    [([answer], named) for answer, named in FAULTS.values()],
    ids=FAULTS,
    indirect=["asked"],
)
def test_the_test_fails_for_what_is_no_picture(asked: Any, named: str) -> None:
    done, _ = asked
    assert done.returncode == 1
    assert named in done.stderr
