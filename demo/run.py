"""`make demo` and `make demo-down`: from an empty machine to pictures, and back.

    python3 demo/run.py up | down | picture PROMPT FILE [LIKE]

Drives the same commands a user would type (hack/install, kubectl, an HTTP request); needs only
Python's standard library. It knows nothing of how the cluster or the images are made.
"""

import base64
import contextlib
import json
import os
import pathlib
import random
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
STATE = ROOT / "build" / "demo"
NAMESPACE, INSTANCE, BUNDLE, PORT = "sd-demo", "shapes", "shapes", 7860
PROMPT = "a large red circle on a white background"
OTHER_PROMPT = "a large blue circle on a gray background"
READY_SECONDS = 600
# An operator that was just replaced first has to look again at what its predecessor gave up.
STALLED_SECONDS = 20


class DemoError(Exception):
    """A step that did not work, with what to look at."""


def kubectl(*arguments: str, check: bool = True) -> str:
    """Standard output of kubectl against the demo's cluster; raises DemoError with its message."""
    done = subprocess.run(
        ["hack/cluster", "kubectl", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise DemoError(f"kubectl {shlex.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def conditions(kind: str, name: str) -> dict[str, dict[str, str]]:
    text = kubectl("-n", NAMESPACE, "get", kind, name, "-o", "json", check=False)
    status = json.loads(text).get("status", {}) if text else {}
    return {condition["type"]: condition for condition in status.get("conditions", [])}


def wait_ready(kind: str, name: str) -> None:
    """Waits for Ready, printing each change of its message; an object that stays Stalled ends the demo."""
    began = time.monotonic()
    deadline, said, changed = began + READY_SECONDS, "", began
    while time.monotonic() < deadline:
        found = conditions(kind, name)
        ready, stalled = found.get("Ready", {}), found.get("Stalled", {})
        message = f"{ready.get('reason', 'Unknown')}: {ready.get('message', 'not seen by the operator yet')}"
        if message != said:
            print(f"  {kind} {name}: {message}", flush=True)
            said, changed = message, time.monotonic()
        if ready.get("status") == "True":
            return
        if stalled.get("status") == "True" and time.monotonic() - changed > STALLED_SECONDS:
            raise DemoError(f"{kind} {name} is stalled: {stalled.get('reason')}: {stalled.get('message')}")
        time.sleep(1)
    raise DemoError(f"{kind} {name} was not Ready after {READY_SECONDS} s: {said}")


def forward_pid_file() -> pathlib.Path:
    return STATE / "port-forward.pid"


def service_address() -> str:
    """An address of the Service on this machine: the node port where it answers, else a port-forward."""
    port = kubectl(
        "-n", NAMESPACE, "get", "service", INSTANCE, "-o", "jsonpath={.spec.ports[0].nodePort}"
    ).strip()
    address = f"http://127.0.0.1:{port}"
    if port and answers(address, seconds=10):
        return address
    stop_forward()
    local = random.randint(20_000, 30_000)
    with (STATE / "port-forward.log").open("w") as log:
        forward = subprocess.Popen(
            [
                "hack/cluster",
                "kubectl",
                "-n",
                NAMESPACE,
                "port-forward",
                f"service/{INSTANCE}",
                f"{local}:{PORT}",
            ],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    forward_pid_file().write_text(str(forward.pid))
    address = f"http://127.0.0.1:{local}"
    if not answers(address, seconds=20):
        raise DemoError(f"the Service does not answer; see {STATE / 'port-forward.log'}")
    return address


def stop_forward() -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.killpg(int(forward_pid_file().read_text()), signal.SIGTERM)
    forward_pid_file().unlink(missing_ok=True)


def answers(address: str, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/internal/ping", timeout=5).close()
        except urllib.error.HTTPError:
            return True  # it speaks HTTP, if only to ask for credentials
        except OSError:
            time.sleep(0.5)
        else:
            return True
    return False


def credentials() -> tuple[str, str]:
    text = kubectl("-n", NAMESPACE, "get", "secret", "shapes-auth", "-o", "json")
    data = json.loads(text)["data"]
    return (base64.b64decode(data["username"]).decode(), base64.b64decode(data["password"]).decode())


def picture(
    address: str, *, prompt: str, target: pathlib.Path, like: pathlib.Path | None = None, seed: int = 1
) -> None:
    """Asks A1111's txt2img for the prompt and writes the PNG; with the outlines of the picture `like`."""
    body: dict[str, object] = {
        "prompt": prompt,
        "steps": 20,
        "cfg_scale": 3,
        "width": 64,
        "height": 64,
        "seed": seed,
        "sampler_name": "Euler a",
    }
    if like is not None:
        unit = {
            "module": "canny",
            "model": "demo-canny",
            "image": base64.b64encode(like.read_bytes()).decode(),
            "pixel_perfect": True,
        }
        body["alwayson_scripts"] = {"controlnet": {"args": [{"enabled": True} | unit]}}
    target.write_bytes(base64.b64decode(txt2img(address, body)[0]))


def txt2img(address: str, body: dict[str, object]) -> list[str]:
    """The answer's pictures, as base64."""
    user, password = credentials()
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"{address}/sdapi/v1/txt2img",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            images: list[str] = json.load(response)["images"]
    except urllib.error.HTTPError as error:
        raise DemoError(
            f"txt2img answered {error.code}: {error.read().decode(errors='replace')[:500]}"
        ) from error
    return images


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def up() -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    step("cluster, images, operator (the first time about a quarter of an hour, then seconds)")
    if subprocess.run(["hack/install"], cwd=ROOT, check=False).returncode:
        raise DemoError("hack/install failed; its last lines are above")
    step("a ModelBundle and an SDInstance: kubectl apply -f examples/demo.yaml")
    kubectl("apply", "-f", "examples/demo.yaml")
    wait_ready("modelbundle", BUNDLE)
    wait_ready("sdinstance", INSTANCE)
    step(f"a picture: “{PROMPT}”")
    address = service_address()
    target = STATE / "picture.png"
    picture(address, prompt=PROMPT, target=target)
    step(f"its outlines again, by ControlNet: “{OTHER_PROMPT}”")
    controlled = STATE / "controlnet.png"
    picture(address, prompt=OTHER_PROMPT, target=controlled, like=target, seed=2)
    user, password = credentials()
    print(f"""
  page         {address}/   (draw at 64x64, CFG scale 3; its API: {address}/openapi.json)
  credentials  {user} / {password}
  pictures     {target.relative_to(ROOT)}, {controlled.relative_to(ROOT)}
  took         {(time.monotonic() - began) / 60:.1f} minutes

Try next:
  curl -su {user}:{password} {address}/sdapi/v1/sd-models
  python3 demo/run.py picture "a small blue star on a black background" star.png
  python3 demo/run.py picture "a small red star on a white background" red.png star.png  # its outlines
  curl -su {user}:{password} {address}/controlnet/module_list
  hack/cluster kubectl -n {NAMESPACE} scale sdinstance/{INSTANCE} --replicas=2
  make demo-down
""")


def down() -> None:
    stop_forward()
    which = subprocess.run(["hack/cluster", "which"], cwd=ROOT, capture_output=True, text=True, check=True)
    if which.stdout.strip() != "existing":
        subprocess.run(["hack/cluster", "down", "--purge"], cwd=ROOT, check=True)
        return
    for arguments in (
        ["delete", "-f", "examples/demo.yaml", "--ignore-not-found"],
        ["delete", "namespace", NAMESPACE, "--ignore-not-found"],
    ):
        kubectl(*arguments)
    for release in ("sd-plugin-basic", "sd-plugin-openpose", "sd-operator"):
        subprocess.run(
            ["hack/cluster", "helm", "uninstall", release, "-n", "sd-operator"], cwd=ROOT, check=True
        )


def main() -> None:
    try:
        match sys.argv[1:]:
            case ["up"]:
                up()
            case ["down"]:
                down()
            case ["picture", prompt, target, *like] if len(like) <= 1:
                source = pathlib.Path(like[0]) if like else None
                picture(service_address(), prompt=prompt, target=pathlib.Path(target), like=source)
            case _:
                sys.exit("usage: python3 demo/run.py up | down | picture PROMPT FILE [LIKE]")
    except DemoError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; `make demo` goes on from where it was, `make demo-down` undoes it")


if __name__ == "__main__":
    main()
