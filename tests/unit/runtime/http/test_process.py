"""The process: its settings, its log, and its life from listening to SIGTERM."""

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from starlette.responses import PlainTextResponse

from sd_runtime import log, process, serving
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
        ("device", "tpu"),
        ("auth", "off"),
        ("port", 70_000),
        ("max_batch", 0),
        ("queue_limit", 0),
        ("management_token_sha256", "abc"),
        ("log_level", "LOUD"),
    ],
)
def test_a_bad_setting_is_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**({"checkpoint": "/x"} | {name: value}))


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

    await asyncio.wait_for(serving.run([server], load_checkpoint=load, drain_jobs=drain), 10)
    assert told == ["here", "drained"]


async def test_one_connection_more_than_a_server_takes_is_turned_away():
    told = []

    async def app(scope, receive, send):
        await PlainTextResponse("here")(scope, receive, send)

    server = serving.server(app, host="127.0.0.1", port=0, connections=3)

    async def load():
        (listening,) = server.servers
        port = listening.sockets[0].getsockname()[1]
        idle = []
        async with httpx.AsyncClient(headers={"connection": "close"}) as client:
            for _ in range(3):
                told.append((await client.get(f"http://127.0.0.1:{port}/")).status_code)
                idle.append(await asyncio.open_connection("127.0.0.1", port))
        for _, writer in idle:
            writer.close()
        os.kill(os.getpid(), signal.SIGTERM)

    async def drain():
        pass

    await asyncio.wait_for(serving.run([server], load_checkpoint=load, drain_jobs=drain), 10)
    assert told == [200, 200, 503]


async def test_a_load_that_fails_is_an_error_in_the_state_and_the_log(make_world, unloadable_engine, caplog):
    world = make_world(unloadable_engine)
    await world.load()
    assert world.services.state.error == "shapes.safetensors: not a safetensors file"
    assert "not loaded" in caplog.text
