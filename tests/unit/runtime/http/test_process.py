"""The process: its settings, its log, and its life from listening to SIGTERM."""

import asyncio
import contextlib
import errno
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from starlette.responses import PlainTextResponse

from sd_runtime import log, process, serving
from sd_runtime.images.saving import OutputFolder
from sd_runtime.settings import Settings


def test_model_roots_are_separated_by_colons():
    settings = Settings(checkpoint="/b/x.safetensors", model_roots="/bundles/a:/bundles/b")
    assert settings.model_roots == (Path("/bundles/a"), Path("/bundles/b"))
    assert Settings(checkpoint="/b/x.safetensors", model_roots="").model_roots == ()


def test_authentication_is_required_unless_it_is_disabled():
    assert Settings(checkpoint="/x").auth == "required"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint", "relative.safetensors"),
        ("warm_up", "yes"),
        ("device", "tpu"),
        ("auth", "off"),
        ("port", 70_000),
        ("max_batch", 0),
        ("queue_limit", 0),
        ("management_token_sha256", "abc"),
        ("log_level", "LOUD"),
        ("dtype", "int8"),
        ("image_urls", "some"),
        ("output_retention_days", 0),
        ("pod_ip", "localhost"),
        ("max_side", 0),
        ("checkpoint_cache_bytes", -1),
        ("job_keep_seconds", 0),
        ("plugin_seconds", 0),
    ],
)
def test_a_bad_setting_is_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**({"checkpoint": "/x"} | {name: value}))


@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "neither is"), ({"checkpoint": "/x", "desired_file": "/y"}, "both are")],
    ids=["neither", "both"],
)
def test_what_to_serve_is_given_in_exactly_one_way(given, told):
    with pytest.raises(ValidationError, match=f"one of SD_CHECKPOINT and SD_DESIRED_FILE.*{told}"):
        Settings(**given)


def test_the_desired_file_is_an_absolute_path():
    assert Settings(desired_file="/etc/desired.json").checkpoint is None
    with pytest.raises(ValidationError, match="desired_file"):
        Settings(desired_file="desired.json")


def test_lists_are_separated_and_what_is_empty_is_not_set(monkeypatch):
    monkeypatch.setenv("SD_CHECKPOINT", "/x")
    monkeypatch.setenv("SD_CORS_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("SD_STYLES_FILES", "/a/styles.csv:/b/styles.csv")
    monkeypatch.setenv("SD_OUTPUT_RETENTION_DAYS", "")
    monkeypatch.setenv("SD_CACHE_DIR", "")
    settings = Settings()
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.styles_files == (Path("/a/styles.csv"), Path("/b/styles.csv"))
    assert (settings.output_retention_days, settings.cache_dir) == (None, None)


def test_a_replica_among_peers_knows_its_own_address():
    settings = Settings(checkpoint="/x", peers="sd.default.svc", pod_ip="FD00:0::1")
    assert settings.pod_ip == "fd00::1"
    with pytest.raises(ValidationError, match="SD_POD_IP must be given"):
        Settings(checkpoint="/x", peers="sd.default.svc")


def test_the_engine_is_told_what_the_settings_say(tmp_path):
    settings = Settings(checkpoint="/x", cache_dir=tmp_path, device="cpu", max_batch=3, compile=True)
    told = process.engine_settings(settings)
    assert (told.device, told.max_batch, told.compile) == ("cpu", 3, True)
    assert told.compile_cache == tmp_path / "compiled"
    assert process.engine_settings(Settings(checkpoint="/x")).compile_cache is None


def test_the_process_ends_with_a_sentence_when_two_settings_contradict_each_other(monkeypatch, capsys):
    monkeypatch.setenv("SD_CHECKPOINT", "/x")
    monkeypatch.setenv("SD_DESIRED_FILE", "/y")
    assert process.main() == 2
    assert "exactly one of SD_CHECKPOINT and SD_DESIRED_FILE" in capsys.readouterr().err


def test_the_process_ends_with_a_sentence_when_a_setting_is_wrong(monkeypatch, capsys):
    monkeypatch.setenv("SD_CHECKPOINT", "/x")
    monkeypatch.setenv("SD_QUEUE_LIMIT", "many")
    assert process.main() == 2
    assert "SD_QUEUE_LIMIT: " in capsys.readouterr().err


def test_the_process_can_listen_before_torch_is_imported():
    program = "import sys, sd_runtime.process; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_a_log_record_is_one_line_of_json_with_its_extras():
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    try:
        log.configure("INFO", stream)
        logging.getLogger("some.part").info("made %d", 2, extra={"job": "ä1"})
        logging.getLogger("some.part").debug("not told")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("some.part").exception("broken")
    finally:
        root.handlers, root.level = before
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "INFO", "logger": "some.part", "message": "made 2", "job": "ä1"}
    assert "ValueError: two\nlines" in second["exception"]


def test_for_a_person_a_log_record_is_a_line_to_read():
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    try:
        log.configure("INFO", stream, plain=True)
        logging.getLogger("some.part").info("made %d", 2, extra={"job": "ä1", "error": None})
        logging.getLogger("some.part").warning("careful")
    finally:
        root.handlers, root.level = before
    first, second = stream.getvalue().splitlines()
    assert first[8:] == " made 2 (job=ä1)"
    assert second[8:] == " warning: careful"


async def test_the_process_listens_before_it_loads_and_ends_in_order_on_sigterm():
    told = []

    async def app(scope, receive, send):
        await PlainTextResponse("here")(scope, receive, send)

    server = serving.server(app, host="127.0.0.1", port=0)

    async def load():
        (listening,) = server.servers
        port = listening.sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client:
            told.append((await client.get(f"http://127.0.0.1:{port}/")).text)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    async def drain():
        assert not server.should_exit
        told.append("drained")

    await asyncio.wait_for(serving.run([server], follow_wishes=load, drain_jobs=drain), 10)
    assert told == ["here", "drained"]


async def never() -> None:
    raise AssertionError("it was begun")


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_a_port_that_is_in_use_is_told_with_its_address_and_setting_before_anything_begins(host):
    with socket.create_server((host, 0)) as taken:
        port = taken.getsockname()[1]
        servers = [
            serving.server(PlainTextResponse("free"), host=host, port=0),
            serving.server(PlainTextResponse("x"), host=host, port=port, setting="SD_MANAGEMENT_PORT"),
        ]
        with pytest.raises(serving.ListenError) as told:
            await serving.run(servers, follow_wishes=never, drain_jobs=never)
    sentence = str(told.value)
    assert sentence.startswith(
        f"SD_MANAGEMENT_PORT: {port} cannot be listened on at {host or 'every address'}"
    )
    assert "Address already in use" in sentence


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_of_this_machine_is_told_with_its_setting(host):
    server = serving.server(PlainTextResponse("x"), host=host, port=0)
    with pytest.raises(serving.ListenError, match=rf"^SD_HOST \(--host\): '{host}'.*allowed: an address"):
        await serving.run([server], follow_wishes=never, drain_jobs=never)


def test_the_process_ends_with_status_1_and_one_error_where_its_port_is_in_use(monkeypatch, capsys, tmp_path):
    root = logging.getLogger()
    before = root.handlers, root.level
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name, value in {"CHECKPOINT": "/x", "HOST": "127.0.0.1", "PORT": port}.items():
            monkeypatch.setenv(f"SD_{name}", str(value))
        try:
            assert process.main() == 1
        finally:
            root.handlers, root.level = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (error,) = [line["message"] for line in lines if line["level"] not in ("INFO", "WARNING")]
    assert f"SD_PORT (--port): {port}" in error


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def answers_by_family(**given):
    """What a server that listens as the settings say answers on the loopback address of each family; and who
    it takes the client for."""
    told = {}

    async def app(scope, receive, send):
        await PlainTextResponse(scope["client"][0])(scope, receive, send)

    settings = Settings(checkpoint="/x", **given)
    server = serving.server(app, host=settings.host, port=0)

    async def ask():
        async with httpx.AsyncClient() as client:
            for each in (one for listening in server.servers for one in listening.sockets):
                address = "[::1]" if each.family == socket.AF_INET6 else "127.0.0.1"
                url = f"http://{address}:{each.getsockname()[1]}/"
                told[each.family] = (await client.get(url)).text
        os.kill(os.getpid(), signal.SIGTERM)

    async def drain():
        pass

    await asyncio.wait_for(serving.run([server], follow_wishes=ask, drain_jobs=drain), 10)
    return told


async def test_by_default_it_listens_on_ipv4():
    assert (await answers_by_family())[socket.AF_INET] == "127.0.0.1"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_by_default_it_listens_on_ipv6():
    assert (await answers_by_family())[socket.AF_INET6] == "::1"


async def test_an_empty_host_in_the_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("SD_HOST", "")
    assert Settings(checkpoint="/x").host == Settings.model_fields["host"].default


async def test_a_named_host_is_the_only_one():
    assert await answers_by_family(host="127.0.0.1") == {socket.AF_INET: "127.0.0.1"}


async def test_a_machine_without_ipv6_serves_over_ipv4(monkeypatch):
    class OnlyIPv4(socket.socket):
        def __init__(self, family=-1, *args, **kwargs):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *args, **kwargs)

    monkeypatch.setattr(socket, "socket", OnlyIPv4)
    assert await answers_by_family() == {socket.AF_INET: "127.0.0.1"}


async def test_one_connection_more_than_a_server_takes_is_turned_away():
    told = []

    async def app(scope, receive, send):
        await PlainTextResponse("here")(scope, receive, send)

    server = serving.server(app, host="127.0.0.1", port=0, connections=3)
    answer = httpx.Response(500)

    async def load():
        nonlocal answer
        (listening,) = server.servers
        port = listening.sockets[0].getsockname()[1]
        idle = []
        async with httpx.AsyncClient(headers={"connection": "close"}) as client:
            for _ in range(3):
                answer = await client.get(f"http://127.0.0.1:{port}/")
                told.append(answer.status_code)
                idle.append(await asyncio.open_connection("127.0.0.1", port))
        for _, writer in idle:
            writer.close()
        os.kill(os.getpid(), signal.SIGTERM)

    async def drain():
        pass

    await asyncio.wait_for(serving.run([server], follow_wishes=load, drain_jobs=drain), 10)
    assert told == [200, 200, 503]
    assert (answer.json()["error"], answer.headers["retry-after"]) == ("TooManyConnections", "5")


async def test_who_sends_no_whole_request_head_is_cut_off_and_who_waits_for_an_answer_is_not():
    told = []

    async def app(scope, receive, send):
        await asyncio.sleep(1.5)
        await PlainTextResponse("late")(scope, receive, send)

    server = serving.server(app, host="127.0.0.1", port=0, idle_seconds=1)

    async def load():
        (listening,) = server.servers
        port = listening.sockets[0].getsockname()[1]

        async def connect(*sent):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answer = b""
            with contextlib.suppress(ConnectionError):
                for piece in sent:
                    writer.write(piece)
                    await asyncio.sleep(0.4)
                answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return answer

        head = b"GET / HTTP/1.1\r\nHost: x\r\n"
        told.extend(
            await asyncio.gather(connect(), connect(head), connect(*[b"G"] * 5), connect(head + b"\r\n"))
        )
        os.kill(os.getpid(), signal.SIGTERM)

    async def drain():
        pass

    await asyncio.wait_for(serving.run([server], follow_wishes=load, drain_jobs=drain), 20)
    assert told[0] == told[1] == b""
    assert not told[2].endswith(b"late")
    assert told[3].endswith(b"late")


async def test_a_load_that_fails_is_an_error_in_the_state_and_the_log(make_world, unloadable_engine, caplog):
    world = make_world(unloadable_engine)
    await world.load()
    assert world.services.state.error == "shapes.safetensors: not a safetensors file"
    assert "not served" in caplog.text


async def test_old_pictures_are_removed_once_the_process_lives(tmp_path, until):
    old = tmp_path / "txt2img-images" / "2001-02-03"
    old.mkdir(parents=True)
    sweeping = asyncio.create_task(process.keep_swept(OutputFolder(tmp_path, retention_days=1)))
    await until(lambda: not old.exists())
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
