"""What is known of a plugin from what it says, and from its silence. Every plugin is at a real socket."""

import asyncio
import json
import logging
import time

import pytest

from sd_runtime.plugins import Plugins, Reason
from sd_runtime.settings import WantedPlugin
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import http, module, parameter, refused

GOOD = WantedPlugin(name="good", kind="Preprocessor")


def test_a_plugin_that_honours_the_contract_is_ready_with_what_it_says(side):
    side.has(side.made(misbehaving.Plugin))
    state = side.state
    assert (state.name, state.kind, state.version) == ("good", "Preprocessor", "0.1.0")
    assert (state.ready, state.reason, state.message) == (True, "", "")
    (found,) = state.modules
    assert (found.name, found.label, found.aliases) == ("invert", "Invert", ("invert (old)",))
    assert (found.control_types, found.matches) == (("Lineart",), ("lineart",))
    assert (found.available, found.mask, found.factor) == (True, False, None)
    assert [(each.name, each.minimum, each.maximum) for each in found.parameters] == [("level", 64, 2048)]


BROKEN = [
    ("contract 2", {"contract": 2}, "its contract is 2; this runtime serves contract 1"),
    ("no contract", {"contract": None}, "contract"),
    ("another's name", {"name": "other"}, "it calls itself 'other' at the socket of good"),
    ("another kind", {"kind": "Upscaler", "modules": [module(factor=2)]}, "its kind is Upscaler"),
    ("a kind of its own", {"kind": "Sampler"}, "kind: 'Sampler'"),
    ("a number for a text", {"version": 1}, "version: 1 "),
    ("a version on two lines", {"version": "1\n2"}, "version"),
    ("no modules", {"modules": []}, "modules"),
    ("too many modules", {"modules": [module(f"m{n}") for n in range(129)]}, "modules"),
    ("one module twice", {"modules": [module(), module()]}, "modules must have names unlike each other"),
    ("a name with a slash", {"modules": [module("a/b")]}, "modules.0.name: 'a/b'"),
    ("a name in capitals", {"modules": [module("Canny")]}, "modules.0.name: 'Canny'"),
    ("a long label", {"modules": [module(label="x" * 101)]}, "modules.0.label"),
    ("many aliases", {"modules": [module(aliases=["a"] * 33)]}, "modules.0.aliases"),
    ("a text for a truth", {"modules": [module(available="yes")]}, "modules.0.available: 'yes'"),
    ("a factor of a preprocessor", {"modules": [module(factor=2)]}, "factor 2 of a Preprocessor"),
    ("a huge factor", {"modules": [module(factor=17)]}, "modules.0.factor: 17"),
    ("no limits", {"limits": {}}, "limits.pixels: field required"),
    ("endless seconds", {"limits": {"pixels": 1, "seconds": float("inf")}}, "limits.seconds"),
    (
        "three thresholds",
        {"modules": [module(parameters=[parameter(name) for name in "abc"])]},
        "at most 2 parameters beside 'resolution'",
    ),
    (
        "one parameter twice",
        {"modules": [module(parameters=[parameter("a")] * 2)]},
        "parameters must have names unlike each other",
    ),
    (
        "a default out of range",
        {"modules": [module(parameters=[parameter("a", default=256)])]},
        "default 256 must be in 0 to 255",
    ),
    (
        "a range upside down",
        {"modules": [module(parameters=[parameter("a", minimum=9, maximum=1, default=5)])]},
        "default 5 must be in 9 to 1",
    ),
    ("a step of none", {"modules": [module(parameters=[parameter("a", step=0)])]}, "step: 0"),
    ("NaN", {"modules": [module(parameters=[parameter("a", default=float("nan"))])]}, "default"),
    (
        "half an integer",
        {"modules": [module(parameters=[parameter("a", default=0.5)])]},
        "of an integer must be integers",
    ),
]


@pytest.mark.parametrize(("changes", "told"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_a_description_that_breaks_the_contract_is_told_by_what_is_broken(side, changes, told):
    plugin = side.made(misbehaving.Plugin)
    plugin.described |= changes
    side.wants([GOOD])
    assert not side.state.ready
    assert side.state.reason is Reason.CONTRACT_BROKEN
    assert side.state.message.startswith("good breaks its contract: ")
    assert told in side.state.message
    assert len(side.state.message) < 1000


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (http(b"rubbish"), "answer: not JSON"),
        (http(b"[" * 100_000), "answer: not JSON"),
        (http(b"[]"), "GET /v1/plugin: answer: "),
        (http(b"\xff\xfe"), "not JSON"),
        (http(b" " * (1 << 20) + b" "), "larger than 1048576 bytes"),
        (http(b"", "404 Not Found"), "GET /v1/plugin is answered with status 404"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", "not HTTP"),
    ],
)
def test_what_is_no_description_is_told_as_a_broken_contract(side, answer, told):
    plugin = side.made(misbehaving.Plugin)
    plugin.describe = lambda: answer
    side.wants([GOOD])
    assert side.state.reason is Reason.CONTRACT_BROKEN
    assert told in side.state.message


def test_keys_that_the_contract_does_not_know_are_passed_over(side):
    later = {"colour": "red", "modules": [module(depth={"deep": [1]})]}
    side.has(side.made(misbehaving.Plugin, **later))
    assert side.state.ready


def test_one_that_never_answered_is_starting_and_says_what_is_missing(side):
    side.wants([GOOD])
    assert (side.state.ready, side.state.reason) == (False, Reason.STARTING)
    assert side.state.message == "good has not answered yet: its socket is not there"


def test_a_path_too_long_for_a_socket_is_told(side):
    side.folder = side.folder / ("x" * 100)
    side.folder.mkdir()
    side.wants([GOOD])
    assert "its socket cannot be used: AF_UNIX path too long" in side.state.message


def test_one_that_never_answered_in_its_time_does_not_answer(side, monkeypatch):
    monkeypatch.setattr("sd_runtime.plugins.plugin._STARTING_SECONDS", 0)
    (side.folder / "good.sock").touch()
    side.wants([GOOD])
    assert side.state.reason is Reason.NOT_ANSWERING
    assert side.state.message == "good does not answer: nobody listens at its socket"


@pytest.mark.parametrize("form", [misbehaving.Mute, misbehaving.DribblingHeaders])
def test_a_poll_has_an_end_however_the_plugin_hangs(side, monkeypatch, form):
    monkeypatch.setattr("sd_runtime.plugins.plugin._POLL_SECONDS", 0.3)
    side.made(form)
    began = time.monotonic()
    side.wants([GOOD])
    assert time.monotonic() - began < 2
    assert "it did not answer in time" in side.state.message


@pytest.fixture
def gone(side):
    """A plugin that was ready and whose socket is gone."""
    plugin = side.made(misbehaving.Plugin)
    side.has(plugin)
    plugin.stop()
    return plugin


def test_a_moments_silence_of_a_ready_plugin_changes_nothing_but_is_looked_into_sooner(side, gone):
    calm = side.one.pause
    side.poll()
    assert side.state.ready
    assert side.one.pause < calm


def test_after_a_longer_silence_its_modules_stay_known_and_cannot_be_used(side, gone, monkeypatch):
    monkeypatch.setattr("sd_runtime.plugins.plugin._PATIENCE_SECONDS", 0)
    side.poll()
    state = side.state
    assert (state.ready, state.reason) == (False, Reason.NOT_ANSWERING)
    assert (state.version, state.kind) == ("0.1.0", "Preprocessor")
    found = side.plugins.modules("Preprocessor")["invert"].state
    assert (found.available, found.label) == (False, "Invert")
    assert found.reason == "good does not answer: its socket is not there"


def test_it_is_ready_again_when_it_is_back(side, gone, monkeypatch):
    monkeypatch.setattr("sd_runtime.plugins.plugin._PATIENCE_SECONDS", 0)
    side.poll()
    back = side.made(misbehaving.Plugin, version="0.2.0")
    side.poll()
    assert (back.asked != [], side.state.ready, side.state.version) == (True, True, "0.2.0")
    assert side.module().state.available


def test_a_supervisor_that_says_it_cannot_serve_is_believed_at_once(side):
    plugin = side.made(misbehaving.Plugin)
    side.has(plugin)
    plugin.describe = lambda: refused("503 Unavailable", "Unavailable", "its worker ends: No module cv2")
    side.poll()
    assert side.state.reason is Reason.NOT_ANSWERING
    assert "status 503: its worker ends: No module cv2" in side.state.message


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        (refused("503 Unavailable", "Unavailable", "it warms up"), "NotAnswering", "status 503: it warms up"),
        (
            refused("404 Not Found", "NotFound", "what?"),
            "ContractBroken",
            "GET /healthz is answered with status 404",
        ),
        (http(b'{"contract": 1}'), "ContractBroken", 'but not with {"status": "ok"}'),
        (http(b"ok"), "ContractBroken", 'but not with {"status": "ok"}'),
    ],
)
def test_one_that_describes_itself_and_is_not_healthy_is_not_ready(side, monkeypatch, answer, reason, told):
    monkeypatch.setattr("sd_runtime.plugins.plugin._STARTING_SECONDS", 0)
    side.made(misbehaving.Plugin).tell_health = lambda: answer
    side.wants([GOOD])
    assert (side.state.ready, side.state.reason) == (False, reason)
    assert told in side.state.message


def test_each_change_is_logged_once(side, caplog, monkeypatch):
    monkeypatch.setattr("sd_runtime.plugins.plugin._PATIENCE_SECONDS", 0)
    caplog.set_level(logging.INFO)
    plugin = side.made(misbehaving.Plugin)
    side.has(plugin)
    honest = plugin.describe
    for answer in (honest, lambda: http(b"{}"), lambda: http(b"[]"), honest, honest):
        plugin.describe = answer
        side.poll()
    told = [record.getMessage().split(":")[0] for record in caplog.records]
    assert told == ["plugin good 0.1.0 is ready", "plugin is not ready", "plugin good 0.1.0 is ready"]


def test_what_the_settings_say_of_a_module_counts_more_than_what_the_plugin_says(side):
    side.made(misbehaving.Plugin)
    said = {"name": "invert", "controlType": "Softedge", "matches": ["hed"]}
    side.wants([WantedPlugin.model_validate({"name": "good", "kind": "Preprocessor", "modules": [said]})])
    found = side.module().state
    assert (found.control_types, found.matches) == (("Softedge",), ("hed",))


def test_the_settings_may_name_a_module_by_an_alias(side):
    side.made(
        misbehaving.Plugin, modules=[module(aliases=["Negative"]), module("negative", aliases=["other"])]
    )
    said = [{"name": "other", "controlType": "Tile"}, {"name": "negative", "matches": ["x"]}]
    side.wants([WantedPlugin.model_validate({"name": "good", "kind": "Preprocessor", "modules": said})])
    assert (side.state.ready, side.state.message) == (True, "")
    assert [(each.name, each.control_types, each.matches) for each in side.state.modules] == [
        ("invert", ("Lineart",), ("lineart",)),
        ("negative", ("Tile",), ("x",)),
    ]


def test_a_module_that_the_settings_name_and_nobody_offers_is_known_with_the_reason(side):
    side.made(misbehaving.Plugin)
    said = [{"name": "canny", "controlType": "Canny"}]
    side.wants([WantedPlugin.model_validate({"name": "good", "kind": "Preprocessor", "modules": said})])
    assert side.state.ready
    assert side.state.message == "it has no module canny, which the settings name"
    found = side.module("canny").state
    assert (found.available, found.reason) == (False, "good 0.1.0 has no module of this name")


def test_modules_of_the_settings_are_known_before_the_plugin_has_answered(side):
    said = [{"name": "canny", "controlType": "Canny", "matches": ["canny"]}]
    side.wants([WantedPlugin.model_validate({"name": "good", "kind": "Preprocessor", "modules": said})])
    found = side.module("canny").state
    assert (found.available, found.control_types) == (False, ("Canny",))
    assert "good has not answered yet" in found.reason


async def test_followed_plugins_become_ready_also_one_that_comes_late_and_one_that_nobody_named(side, until):
    side.wants(None)
    following = asyncio.create_task(side.plugins.follow())
    side.made(misbehaving.Plugin, name="late")
    (side.folder / "Not a plugin.sock").touch()
    await until(lambda: [each.ready for each in side.plugins.states()] == [True])
    side.made(misbehaving.Plugin, name="early")
    await until(lambda: [each.name for each in side.plugins.states() if each.ready] == ["early", "late"])
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_a_hanging_plugin_keeps_no_other_from_being_polled(side, until):
    side.made(misbehaving.Mute, name="mute")
    side.made(misbehaving.Plugin)
    wanted = [WantedPlugin(name=name, kind="Preprocessor") for name in ("mute", "good")]
    side.plugins = Plugins(side.folder, wanted)
    following = asyncio.create_task(side.plugins.follow())
    await until(lambda: [each.ready for each in side.plugins.states()] == [False, True])
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


def test_plugins_with_nothing_configured_are_none():
    plugins = Plugins()
    assert plugins.states() == ()
    assert plugins.modules("Preprocessor") == {}
    assert plugins.find("Upscaler", "x") is None
    plugins.close()


def test_the_error_answer_of_a_plugin_need_not_be_of_any_shape(side, picture):
    for body in (b"", b"{", b"[]", b'{"detail": 1}', json.dumps({"detail": "x" * 9999}).encode()):
        plugin = side.made(misbehaving.Saying, http(body, "503 Unavailable"))
        with pytest.raises(Exception, match="plugin good, module invert: ") as caught:
            side.has(plugin).run(side.module(), picture)
        assert len(str(caught.value)) < 700
        plugin.stop()
