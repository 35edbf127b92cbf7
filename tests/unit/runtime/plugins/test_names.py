"""Which name leads to which module."""

import logging

import pytest

from sd_runtime.plugins.catalog import Catalog, full_name
from sd_runtime.plugins.states import ModuleState, PluginState
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import module


def state(plugin, *modules, kind="Preprocessor"):
    return PluginState(name=plugin, kind=kind, ready=True, modules=modules)


CANNY = ModuleState(name="canny", label="Canny edges", aliases=("Edges", "canny_detector"))
OTHER_CANNY = ModuleState(name="canny", label="Other canny", aliases=("edges", "second"))
EDGES = ModuleState(name="edges", label="Canny edges")
UPSCALER = ModuleState(name="canny", label="Not a preprocessor", factor=4)
CATALOG = Catalog(
    [
        state("basic", CANNY),
        state("other", OTHER_CANNY, EDGES),
        state("large", UPSCALER, kind="Upscaler"),
        PluginState(name="unknown"),
    ]
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("canny", "basic/canny"),
        (" CANNY ", "basic/canny"),
        ("other/canny", "other/canny"),
        ("basic/canny", "basic/canny"),
        ("Other/Canny", "other/canny"),
        ("edges", "other/edges"),  # a name counts more than an alias
        ("canny_detector", "basic/canny"),
        ("second", "other/canny"),
        ("canny edges", "basic/canny"),
        ("other canny", "other/canny"),
        ("not a preprocessor", None),
        ("", None),
        ("large/canny", None),
    ],
)
def test_a_module_is_found_by_its_names(name, meant):
    found = CATALOG.find("Preprocessor", name)
    assert (found and full_name(found)) == meant


def test_the_first_plugin_has_the_name_and_the_other_ones_module_keeps_its_full_name():
    assert list(CATALOG.modules("Preprocessor")) == ["canny", "other/canny", "edges"]
    assert list(CATALOG.modules("Upscaler")) == ["canny"]


def test_two_modules_of_one_name_are_told_in_the_state_of_the_later_plugin_and_logged_once(side, caplog):
    caplog.set_level(logging.WARNING)
    first = side.made(misbehaving.Plugin, name="first")
    plugins = side.has(first, side.made(misbehaving.Plugin, name="second", modules=[module(), module("b")]))
    told = "the name invert leads to the module of first; this one is second/invert"
    assert [each.message for each in plugins.states()] == ["", told]
    for _ in range(2):
        plugins._tell_of_names()
    assert [record.getMessage() for record in caplog.records] == [f"second/invert: {told}"]


def test_the_order_of_the_settings_says_which_plugin_is_first(side, picture):
    late = side.made(misbehaving.Plugin, name="z")
    plugins = side.has(late, side.made(misbehaving.Plugin, name="a"))
    plugins.run(side.module("invert"), picture)
    assert len(late.runs) == 1
