"""What the modules are called and take, against what sd-webui-controlnet's clients send."""

import pytest

from sd_plugin.module import Plugin

TABLE = {
    "softedge_pidinet": ("pidinet", "SoftEdge", []),
    "softedge_pidisafe": ("pidinet_safe", "SoftEdge", []),
    "softedge_hed": ("hed", "SoftEdge", []),
    "softedge_hedsafe": ("hed_safe", "SoftEdge", []),
    "scribble_pidinet": ("pidinet_scribble", "Scribble", []),
    "scribble_hed": (None, "Scribble", []),
    "depth_midas": ("depth", "Depth", []),
    "depth_zoe": (None, "Depth", []),
    "depth_leres": (None, "Depth", [(0, 0, 100), (0, 0, 100)]),
    "depth_leres++": (None, "Depth", [(0, 0, 100), (0, 0, 100)]),
    "mlsd": (None, "MLSD", [(0.1, 0.01, 2.0), (0.1, 0.01, 20.0)]),
    "normal_bae": (None, "NormalMap", []),
    "normal_midas": ("normal_map", "NormalMap", [(0.4, 0.0, 1.0)]),
    "lineart_realistic": ("lineart", "Lineart", []),
    "lineart_coarse": (None, "Lineart", []),
    "lineart_anime": (None, "Lineart", []),
}


def test_the_description_keeps_the_contract_and_lists_every_module(plugin: Plugin) -> None:
    said = plugin.describe()
    assert (said.name, said.kind) == ("controlnet-aux", "Preprocessor")
    assert [each.name for each in said.modules] == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_names_types_and_thresholds_are_those_that_clients_know(name: str, plugin: Plugin) -> None:
    alias, control_type, thresholds = TABLE[name]
    said = plugin.describe().module(name)
    assert said is not None
    assert alias is None or alias in said.aliases
    assert said.control_types[0] == control_type
    first, *others = said.parameters
    assert (first.name, first.default) == ("resolution", 512)
    assert 1024 <= first.maximum <= 2048
    assert [(each.default, each.minimum, each.maximum) for each in others] == thresholds
