"""Alone on a workstation: what the arguments mean, what is told at start, and one real start to end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sd_runtime import process, standalone
from sd_runtime.errors import UnsupportedError
from sd_runtime.settings import Settings


def understood(folder: Path, private: Path, *arguments: str) -> Settings:
    given = standalone.parsed(["--models-dir", str(folder), *arguments])
    assert isinstance(given, standalone.CommandLine)
    return standalone.settings_of(given, private)


@pytest.fixture(params=["A1111's folder", "its folder models", "a plain folder"])
def folder(request: Any, checkpoint_file: Path, tmp_path: Path) -> Path:
    """A folder with the checkpoints a and b, in each of the layouts that are understood."""
    root = tmp_path / "models-dir"
    places = {
        "A1111's folder": root / "models" / "Stable-diffusion",
        "its folder models": root / "Stable-diffusion",
        "a plain folder": root,
    }
    place = places[request.param]
    place.mkdir(parents=True)
    for name in ("b", "a"):
        (place / f"{name}.safetensors").write_bytes(checkpoint_file.read_bytes())
    return root


def test_the_first_checkpoint_is_taken_unless_another_is_named(folder: Path, tmp_path: Path) -> None:
    settings = understood(folder, tmp_path)
    assert settings.checkpoint is not None
    assert settings.checkpoint.name == "a.safetensors"
    assert settings.model_roots == (folder,)
    named = understood(folder, tmp_path, "--checkpoint", "b")
    assert named.checkpoint is not None
    assert named.checkpoint.name == "b.safetensors"


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"--checkpoint: 'c'.*a\.safetensors, b\.safetensors"):
        understood(folder, tmp_path, "--checkpoint", "c")


def test_without_more_it_listens_on_loopback_alone_and_asks_for_no_password(
    folder: Path, tmp_path: Path
) -> None:
    settings = understood(folder, tmp_path)
    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 7860, "disabled")
    assert settings.management_port is None
    assert settings.output_dir == Path.cwd() / "outputs"


def test_a_password_is_kept_where_nobody_else_reads_it(folder: Path, tmp_path: Path) -> None:
    settings = understood(folder, tmp_path, "--auth", "me:se:cret")
    assert (settings.auth, settings.auth_dir) == ("required", tmp_path)
    assert (tmp_path / "username").read_text() == "me"
    assert (tmp_path / "password").read_text() == "se:cret"
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("files", [{"username": "me", "password": "x"}, {"token": "x"}])
def test_a_password_can_be_read_from_files_and_so_be_in_no_command_line(
    folder: Path, tmp_path: Path, files: dict[str, str]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name, text in files.items():
        (own / name).write_text(text)
    settings = understood(folder, tmp_path, "--auth-dir", str(own))
    assert (settings.auth, settings.auth_dir) == ("required", own)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--auth-dir", "{missing}"], "username cannot be read: No such file or directory"),
        (["--auth-dir", "{empty}"], "username cannot be read"),
        (["--auth-dir", "{empty}", "--auth", "me:x"], "no --auth beside it"),
    ],
)
def test_files_without_a_password_are_refused_with_the_reason(
    folder: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"missing": tmp_path / "missing", "empty": tmp_path / "empty"}
    with pytest.raises(UnsupportedError, match=f"--auth-dir.*{says}"):
        understood(folder, tmp_path, *(each.format(**places) for each in arguments))


@pytest.mark.parametrize("auth", ["me", ":x", "me:", ""])
def test_half_a_password_is_refused_and_not_repeated(folder: Path, tmp_path: Path, auth: str) -> None:
    with pytest.raises(UnsupportedError, match=r"--auth.*user:password") as error:
        understood(folder, tmp_path, f"--auth={auth}")
    assert "me" not in str(error.value).replace("name", "")


def test_an_empty_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"put a file like .* there"):
        understood(tmp_path, tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"--models-dir.*a folder that exists"):
        understood(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "7860"], "--models-dir"),
        (["--models-dir", ".", "--port", "many"], "--port"),
        (["--models-dir", ".", "--gpu", "0"], "--gpu"),
        (["--models-dir", "/nowhere"], "--models-dir"),
    ],
)
def test_wrong_arguments_end_with_a_sentence_and_status_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert process.main(arguments) == 2
    assert told in capsys.readouterr().err


def test_help_lists_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert process.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "--models-dir" in out
    assert "Kubernetes" not in out


@pytest.mark.parametrize(
    ("host", "auth", "warns"),
    [
        ("127.0.0.1", None, False),
        ("0.0.0.0", None, True),
        ("0.0.0.0", "me:secret", False),
    ],
)
def test_an_open_door_is_told(folder: Path, tmp_path: Path, host: str, auth: str | None, warns: bool) -> None:
    arguments = ["--host", host, *(["--auth", auth] if auth else [])]
    welcome = standalone.welcome(understood(folder, tmp_path, *arguments))
    assert "http://127.0.0.1:7860/sdapi/v1/txt2img" in welcome
    assert ("anybody" in welcome) is warns


def test_the_page_is_served_and_told_of_unless_it_is_not_wanted(folder: Path, tmp_path: Path) -> None:
    for arguments, page in ([], "on"), (["--no-page"], "off"):
        settings = understood(folder, tmp_path, *arguments)
        assert settings.page == page
        assert ("a page for a browser" in standalone.welcome(settings)) is (page == "on")


def test_the_prefix_of_a_proxy_can_be_told(folder: Path, tmp_path: Path) -> None:
    assert understood(folder, tmp_path, "--root-path", "/sd/").root_path == "/sd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def asked_until_ready(client: httpx.Client, request: dict[str, object]) -> httpx.Response:
    """The first answer of a server that has a checkpoint, or could not load it."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(httpx.ConnectError):
            answer = client.post("/sdapi/v1/txt2img", json=request)
            if answer.status_code != 503 or "could not be loaded" in answer.text:
                return answer
        time.sleep(0.2)
    raise AssertionError("it did not become ready")


@contextlib.contextmanager
def started(*arguments: object, home: Path) -> Iterator[subprocess.Popen[str]]:
    """The process, as a person starts it; killed in the end."""
    program = subprocess.Popen(
        [sys.executable, "-m", "sd_runtime", "--device", "cpu", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": ":".join(sys.path), "HOME": str(home), "TMPDIR": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once_and_tells_what_is_given_up(
    checkpoint_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    request: dict[str, object] = {"width": 64, "height": 64, "steps": 1}
    arguments = ["--models-dir", checkpoint_file.parent, "--port", port, "--auth", "me:secret", "--no-page"]
    with started(*arguments, "--output-dir", tmp_path / "out", home=tmp_path) as program:
        with httpx.Client(base_url=url, auth=("me", "secret"), timeout=60) as client:
            assert asked_until_ready(client, request).status_code == 200
            endless = {
                "kind": "txt2img",
                "parameters": request | {"steps": 150, "batch_size": 8, "n_iter": 16},
            }
            assert client.post("/v1/jobs", json=endless).status_code == 202
        program.send_signal(number)
        assert program.stderr is not None
        told = next(line for line in program.stderr if "shutting down" in line)
        assert "a second signal" in told
        program.send_signal(number)
        assert program.wait(5) == 128 + number
        (line,) = [line for line in program.stderr if "given up" in line]
    assert "warning: " in line
    assert "requests=1" in line
    assert not list(tmp_path.glob("sd-runtime-*")), "the password is still in a file"


def test_where_the_port_is_in_use_nothing_is_said_of_loading(checkpoint_file: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started("--models-dir", checkpoint_file.parent, "--port", port, home=tmp_path) as program:
            _, told = program.communicate(timeout=60)
    assert program.returncode == 1
    assert f"SD_PORT (--port): {port} cannot be listened on at 127.0.0.1" in told
    assert "Traceback" not in told
    assert "loading" not in told


def test_a_person_with_a_folder_gets_a_picture_and_ends_it_with_ctrl_c(
    checkpoint_file: Path, tmp_path: Path
) -> None:
    port = free_port()
    arguments = ["--models-dir", checkpoint_file.parent, "--port", port, "--output-dir", tmp_path / "out"]
    request: dict[str, object] = {
        "prompt": "a cat",
        "width": 64,
        "height": 64,
        "steps": 2,
        "sampler_name": "Euler",
    }
    with started(*arguments, home=tmp_path) as program:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            answer = asked_until_ready(client, request)
            page = client.get("/")
        assert answer.status_code == 200, answer.text
        assert page.headers["content-type"].startswith("text/html")
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0
        _, told = program.communicate()
    assert f"http://127.0.0.1:{port}" in told
    assert len(list((tmp_path / "out").rglob("*.png"))) == 1
    assert not list(tmp_path.glob("sd-page-*")), "the page left a folder"


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before


@pytest.mark.usefixtures("logging_restored")
def test_a_wrong_setting_in_the_environment_is_told_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def live(*_: Any) -> int:
        raise AssertionError("it was started")

    monkeypatch.setenv("SD_MAX_STEPS", "abc")
    assert standalone.run(["--models-dir", str(folder)], live) == 2
    assert "sd-runtime: SD_MAX_STEPS: " in capsys.readouterr().err


COMPLAINTS = [
    (
        {"SD_DESIRED_FILE": "/x"},
        "exactly one of SD_CHECKPOINT and SD_DESIRED_FILE must be given; both are",
    ),
    (
        {"SD_PEERS": "foo"},
        "SD_POD_IP must be given with SD_PEERS: the other replicas reach this one by it",
    ),
    (
        {"SD_MANAGEMENT_TOKEN_SHA256": "abc"},
        "SD_MANAGEMENT_TOKEN_SHA256: must be 64 hexadecimal digits, or empty (it is 'abc')",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), COMPLAINTS)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a pod"])
@pytest.mark.usefixtures("logging_restored")
def test_what_is_wrong_with_the_environment_is_one_sentence(
    checkpoint_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, str],
    sentence: str,
    alone: bool,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if not alone:
        monkeypatch.setenv("SD_CHECKPOINT", str(checkpoint_file))
    arguments = ["--models-dir", str(checkpoint_file.parent)] if alone else []
    assert process.main(arguments) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (f"sd-runtime: {sentence}" if alone else sentence)


@pytest.mark.parametrize(("level", "told"), [(None, {"info", "error"}), ("ERROR", {"error"})])
@pytest.mark.usefixtures("logging_restored")
def test_the_least_severity_that_is_logged_is_the_settings(
    checkpoint_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    level: str | None,
    told: set[str],
) -> None:
    def live(*_: Any) -> int:
        for each in (logging.INFO, logging.ERROR):
            logging.getLogger("some.part").log(each, "it is %s", logging.getLevelName(each).lower())
        return 0

    if level is not None:
        monkeypatch.setenv("SD_LOG_LEVEL", level)
    assert standalone.run(["--models-dir", str(checkpoint_file.parent)], live) == 0
    lines = capsys.readouterr().err.splitlines()
    assert {line.split()[-1] for line in lines if "it is" in line} == told
