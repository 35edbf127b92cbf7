"""Each module of a description is judged for itself."""

import json

import pytest

from sd_runtime.plugins import description
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import module


def read(*modules, **changes):
    said = misbehaving.description(modules=list(modules), **changes)
    return description.read(json.dumps(said).encode(), name="good", kind=None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"available": False, "reason": "a pickle that names ev\x01il"}, "modules.1.reason: "),
        ({"label": "4x\u00a0nbsp"}, "modules.1.label: '4x\\xa0nbsp' is not accepted"),
        ({"aliases": ["a"] * 33}, "modules.1.aliases: "),
        ({"factor": 2}, "odd: factor 2 of a Preprocessor"),
        ({"parameters": [misbehaving.parameter("a.b")]}, "modules.1.parameters.0.name: 'a.b'"),
    ],
)
def test_a_module_that_is_wrong_in_itself_is_unavailable_and_takes_no_other_with_it(changes, told):
    before, odd, after = read(module("before"), module("odd", **changes), module("after")).states()
    assert (before.available, after.available) == (True, True)
    assert (odd.name, odd.available) == ("odd", False)
    assert odd.reason.startswith(f"what its plugin says of it breaks the contract: {told}")
    assert odd.reason.isprintable()
    assert len(odd.reason) <= 1000


@pytest.mark.parametrize("nameless", ["text", None, {"label": "No name"}, module("a/b")])
def test_a_module_that_nobody_can_name_is_left_out_and_told_of(nameless):
    said = read(module("good"), nameless)
    assert [each.name for each in said.states()] == ["good"]
    assert said.message.startswith("modules are left out: modules.1")


def test_a_plugin_without_any_module_that_keeps_the_contract_breaks_it():
    with pytest.raises(description.BrokenContract, match=r"GET /v1/plugin: modules\.0\.label: 1 is not"):
        read(module("a", label=1), module("b", label=2))
