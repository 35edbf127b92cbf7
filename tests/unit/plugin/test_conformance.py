"""The conformance command passes plugins that keep the contract, whoever wrote them, and names the demand
that others do not meet."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from pathlib import Path

import plain
import pytest
from plugin_processes import ROOT, serving, supervised, until

from sd_plugin import conformance

_ANSWERS = "pixelate: answers a picture as NPY, with every parameter as it is by default"
_NAMES_IT = "pixelate: square out of range, or no number, is 422 Invalid, naming it"
#: Of each that breaks the contract: the demand, and how the report begins to tell what was seen.
_BROKEN = {
    "lies_about_its_contract": ("GET /v1/plugin answers a valid description of contract 1", "contract: "),
    "answers_rubbish": (_ANSWERS, "the answer's archive: it is broken: "),
    "makes_another_size": (
        "pixelate: answers square, odd, wide and tall pictures in the right size",
        "131x67: a picture of 131x67 gives one of 64x64, of other proportions",
    ),
    "makes_maps_larger": (
        _ANSWERS,
        "a picture of 64x96 gives one of 128x192, which without a parameter resolution must not be larger",
    ),
    "talks_about_its_health": (
        'GET /healthz answers 200 {"status": "ok"}',
        "the answer has more than 1024 bytes, the most that there can be",
    ),
    "refuses_at_length": (
        "an empty body is 422 Invalid",
        "the answer has more than 65536 bytes, the most that there can be",
    ),
    "answers_without_end": (_ANSWERS, "the answer has more than "),
    "never_answers": (_ANSWERS, "no answer within 1.5 s"),
    "loads_pickles": ("a picture of pickled objects is 422 Invalid", "it answers 200 "),
    "tells_tracebacks": ("an empty body is 422 Invalid", "it answers 500 "),
    "takes_any_number": (_NAMES_IT, "1: it answers 200 "),
    "describes_itself_slowly": (
        "GET /healthz and GET /v1/plugin are answered within 2 s",
        "the answer to GET /v1/plugin took 2.",
    ),
    "spells_its_own_keys": (
        "the description's keys are spelt as the contract spells them",
        "'control_types' is ignored; the contract's key is 'controlTypes'",
    ),
    "bends_deep_pictures": ("a PNG of 16 bits is 422 Invalid", "it answers 200 "),
    "overlooks_deadlines": (
        "a long run with a short Sd-Deadline is answered 504",
        "pixelate: with 0.",
    ),
    "does_one_thing_at_a_time": (
        "pixelate: GET /healthz and GET /v1/plugin are answered within 2 s during runs",
        "an answer took ",
    ),
    "dies_of_bad_requests": (
        "an empty body is 422 Invalid",
        "it refuses as it should, and then GET /healthz answers 503",
    ),
    "enlarges_too_little": (
        "pixelate: answers a picture as PNG",
        "a picture of 64x96 gives one of 64x96, not 2 times as large",
    ),
    "hides_its_reason": (
        "absent: a run of an unavailable module is 503 Unavailable, with its reason",
        "it answers 404 ",
    ),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_a_breach_of_the_contract_is_named(name: str, socket: Path) -> None:
    report, socket = io.StringIO(), socket.with_name("pixelate.sock")
    with serving(importlib.import_module(name).app, socket):
        status = conformance.check(socket, report, patience=0.5)
    assert status == 1
    assert "FAIL  " + ": ".join(_BROKEN[name]) in report.getvalue()


def test_every_breaker_of_the_folder_is_tried() -> None:
    folder = ROOT / "tests/unit/plugin/misbehaving"
    breakers = {each.stem for each in folder.glob("*.py") if "app = _made.app" in each.read_text()}
    assert breakers == _BROKEN.keys()


def test_a_plugin_that_stops_answering_is_not_waited_for_again_and_again(socket: Path) -> None:
    report, socket = io.StringIO(), socket.with_name("pixelate.sock")
    with serving(importlib.import_module("never_answers").app, socket):
        conformance.check(socket, report, patience=0.5)
    assert report.getvalue().count("no answer within") == 3
    assert "not tried: it has stopped answering" in report.getvalue()


def test_nobody_at_the_socket_is_a_breach_too(socket: Path) -> None:
    report = io.StringIO()
    assert conformance.check(socket, report) == 1
    assert report.getvalue() == f"FAIL  a process listens on {socket}: nobody does\n"


def test_the_example_that_uses_nothing_of_ours_conforms(socket: Path) -> None:
    import breakers

    assert "sd_plugin" not in (ROOT / "examples/plugin/pixelate.py").read_text().replace("SD_PLUGIN", "")
    report, socket = io.StringIO(), socket.with_name("pixelate.sock")
    with serving(breakers.example().app, socket):
        assert conformance.check(socket, report) == 0, report.getvalue()
    assert "FAIL" not in report.getvalue()


@pytest.mark.parametrize("name", ["basic", "plain:plugin"])
def test_a_plugin_of_ours_conforms_in_its_own_processes(name: str, socket: Path) -> None:
    command = [sys.executable, "-m", "sd_plugin", "conform", str(socket)]
    with supervised(name, socket, SD_PLUGIN_NAME="plugin") as running:
        until(running.serves, "a worker")
        done = subprocess.run(command, cwd=ROOT / "runtime", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert " 0 not met" in done.stdout


def test_each_line_of_the_report_is_one_demand(socket: Path) -> None:
    report, socket = io.StringIO(), socket.with_name("plain.sock")
    with serving(_app(), socket):
        assert conformance.check(socket, report) == 0, report.getvalue()
    lines = report.getvalue().splitlines()
    assert all(line.startswith(("ok    ", "-     ")) for line in lines[:-1])
    assert len(set(lines)) == len(lines)


def _told(socket: Path, demand: str) -> str:
    report = io.StringIO()
    with serving(_app(), socket):
        conformance.check(socket, report)
    (line,) = [each for each in report.getvalue().splitlines() if demand in each]
    return line


def test_a_socket_of_another_name_is_a_breach(socket: Path) -> None:
    told = "FAIL  its name is that of its socket, without .sock: it calls itself 'plain' at plugin.sock"
    assert _told(socket, "its name is that").startswith(told)


def test_a_socket_that_its_group_may_not_use_is_a_breach(socket: Path) -> None:
    socket = socket.with_name("plain.sock")
    report = io.StringIO()
    with serving(_app(), socket):
        socket.chmod(0o600)
        conformance.check(socket, report)
    assert (
        "FAIL  its socket may be read and written by its group: its mode is srw-------" in report.getvalue()
    )


def test_a_reader_that_leaves_before_the_report_ends_is_no_defect(socket: Path) -> None:
    command = f"{sys.executable} -m sd_plugin conform {socket} | head -n 1"
    with serving(_app(), socket):
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=ROOT / "runtime", capture_output=True, text=True, timeout=60
        )
    assert done.stdout == 'ok    GET /healthz answers 200 {"status": "ok"}\n'
    assert done.stderr == ""


def _app() -> object:
    from sd_plugin.runs import Runs
    from sd_plugin.server import create_app

    made = plain.plugin()
    return create_app(made, Runs(made.at_once))
