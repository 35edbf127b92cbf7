"""How the environment and the command line name plugins."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from sd_runtime import process, standalone
from sd_runtime.errors import UnsupportedError
from sd_runtime.metrics import Metrics
from sd_runtime.settings import Settings, complaints

CANNY = {"name": "canny", "controlType": "Canny", "matches": ["canny"]}
BASIC = {"name": "controlnet-basic", "kind": "Preprocessor", "modules": [CANNY]}


@pytest.fixture
def environment(monkeypatch):
    def put(plugins, folder="/run/sd-plugins"):
        monkeypatch.setenv("SD_CHECKPOINT", "/x")
        monkeypatch.setenv("SD_PLUGINS", plugins if isinstance(plugins, str) else json.dumps(plugins))
        monkeypatch.setenv("SD_PLUGIN_DIR", folder)

    return put


def test_plugins_are_named_as_json_in_their_order(environment):
    environment([BASIC, {"name": "upscale", "kind": "Upscaler"}])
    settings = Settings()
    assert settings.plugin_dir == Path("/run/sd-plugins")
    assert [(each.name, each.kind) for each in settings.plugins] == [
        ("controlnet-basic", "Preprocessor"),
        ("upscale", "Upscaler"),
    ]
    (canny,) = settings.plugins[0].modules
    assert (canny.name, canny.control_type, canny.matches) == ("canny", "Canny", ("canny",))
    states = process.make_plugins(settings, Metrics()).states()
    assert [(each.name, each.reason) for each in states] == [
        ("controlnet-basic", "Starting"),
        ("upscale", "Starting"),
    ]


@pytest.mark.parametrize(("given", "known"), [("", None), ("[]", ())])
def test_unset_is_every_socket_and_an_empty_list_is_none(environment, given, known):
    environment(given)
    assert Settings().plugins == known


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("[", "SD_PLUGINS: must be JSON: "),
        ("[" * 100_000, "SD_PLUGINS: must be JSON: "),
        ('{"name": "a"}', "SD_PLUGINS: "),
        ([BASIC, BASIC], "SD_PLUGINS: must name each plugin once"),
        ([BASIC | {"name": "../up"}], "SD_PLUGINS.0.name: "),
        ([BASIC | {"name": "-a"}], "SD_PLUGINS.0.name: "),
        ([BASIC | {"name": "a" * 64}], "SD_PLUGINS.0.name: "),
        ([BASIC | {"kind": "Sampler"}], "SD_PLUGINS.0.kind: "),
        ([BASIC | {"image": "x"}], "SD_PLUGINS.0.image: "),
        ([BASIC | {"modules": [CANNY | {"name": "Canny"}]}], "SD_PLUGINS.0.modules.0.name: "),
        ([BASIC | {"modules": [{"name": "canny", "matches": [""]}]}], "SD_PLUGINS.0.modules.0.matches.0: "),
    ],
)
def test_what_is_wrong_is_told_by_its_place(environment, given, told):
    environment(given)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (sentence,) = complaints(caught.value)
    assert sentence.startswith(told)


def test_plugins_without_a_folder_are_refused(environment):
    environment([BASIC], folder="")
    with pytest.raises(ValidationError, match="SD_PLUGIN_DIR must be given with SD_PLUGINS"):
        Settings()


def test_the_command_line_names_the_folder_or_the_environment_does(tmp_path, monkeypatch):
    models, sockets = tmp_path / "models", tmp_path / "sockets"
    for folder in (models, sockets):
        folder.mkdir()
    (models / "a.safetensors").touch()

    def understood(*arguments):
        given = standalone.parsed(["--models-dir", str(models), *arguments])
        return standalone.settings_of(given, tmp_path).plugin_dir

    assert understood() is None
    assert understood("--plugin-dir", str(sockets)) == sockets
    monkeypatch.setenv("SD_PLUGIN_DIR", "/elsewhere")
    assert understood() == Path("/elsewhere")
    assert understood("--plugin-dir", str(sockets)) == sockets
    with pytest.raises(UnsupportedError, match=r"--plugin-dir: .*nowhere.* a folder that exists"):
        understood("--plugin-dir", str(tmp_path / "nowhere"))
