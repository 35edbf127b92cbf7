"""What units may name: ControlNet files, modules, control types."""

import hashlib

import pytest
import small_files
from control_units import SMALL, scripts, unit
from fake_plugins import FakePlugins

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.controlnet import listing, networks
from sd_runtime.errors import PluginUnavailable, UnsupportedError

EMPTY = hashlib.sha256(b"").hexdigest()[:8]


@pytest.fixture
def desk(desk):
    desk.plugins = FakePlugins()
    return desk


def large(value):
    """A ControlNet that is long enough to have a hash, with bytes of this value."""
    shapes = {
        "control_model.input_hint_block.0.bias": [1],
        "control_model.input_hint_block.0.weight": [0x60000],
    }
    data = small_files.safetensors(shapes)
    return data[:0x100000] + bytes([value]) * (len(data) - 0x100000)


def find(desk, name):
    return networks.find(desk.library, "model", name)


@pytest.mark.parametrize(
    "name",
    [
        f"Canny_SD15 [{EMPTY}]",
        f"canny_sd15 [{EMPTY.upper()}]",
        "Canny_SD15",
        "CANNY_sd15",
        " Canny_SD15 ",
        "Canny_SD15.safetensors",
        "more/Canny_SD15.safetensors",
    ],
)
def test_a_controlnet_may_be_named_by_title_stem_and_file(desk, name):
    path = desk.put_controlnet("more/Canny_SD15")
    assert find(desk, name).path == path


def test_the_hash_is_a1111s_first_kind(desk):
    path = desk.put_controlnet("canny")
    data = large(1)
    path.write_bytes(data)
    expected = hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
    assert find(desk, f"canny [{expected}]").title == f"canny [{expected}]"


def test_a_name_with_another_files_hash_is_refused_with_the_right_one(desk):
    desk.put_controlnet("canny")
    with pytest.raises(UnsupportedError, match=rf"allowed: canny \[{EMPTY}\]"):
        find(desk, "canny [0123abcd]")


def test_brackets_of_a_files_own_name_are_part_of_it(desk):
    path = desk.put_controlnet("canny [0123abcd]")
    assert find(desk, "canny [0123abcd]").path == path


def test_a_network_of_another_kind_is_refused_and_not_listed(desk):
    desk.put_controlnet("canny")
    path = desk.put(ModelType.CONTROLNET, "adapter.safetensors")
    path.write_bytes(small_files.safetensors({"adapter.body.0.resnets.0.block1.weight": [1, 1]}))
    with pytest.raises(UnsupportedError, match="T2I-Adapter"):
        find(desk, "adapter")
    assert listing.model_list(desk.library).model_list == [f"canny [{EMPTY}]"]


def test_of_files_with_one_name_the_one_with_the_titles_hash_is_meant(desk):
    paths = [desk.put_controlnet(name) for name in ("canny", "more/canny", "most/Canny")]
    for number, path in enumerate(paths):
        path.write_bytes(large(number))
    titles = listing.model_list(desk.library).model_list
    assert len(set(titles)) == 3
    assert {find(desk, title).path for title in titles} == set(paths)
    assert [find(desk, title).title for title in titles] == titles
    with pytest.raises(UnsupportedError) as refused:
        find(desk, "canny [0123abcd]")
    assert all(title in str(refused.value) for title in titles)


LAYER = "control_model.input_blocks.1.1.transformer_blocks.0.attn2"
WHOLE = {f"{LAYER}.to_k.weight": [1, 768], f"{LAYER}.to_out.0.weight": [1, 1], f"{LAYER}.to_out.0.bias": [1]}


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("half", small_files.safetensors({f"{LAYER}.to_out.0.weight": [1, 1]}), r"0\.bias' is missing"),
        ("whole_numbers", small_files.safetensors(WHOLE).replace(b'"F32"', b'"I32"'), "dtype I32"),
        ("union", small_files.safetensors(WHOLE | {"control_model.task_embedding": [1]}), "Union"),
        ("cut", small_files.safetensors(WHOLE)[:-1], "bytes"),
        ("junk", b"x" * 100, "header"),
        ("vae", small_files.of(ModelType.VAE), "VAE"),
    ],
)
def test_a_file_whose_header_shows_a_fault_is_not_listed_and_refused_with_it(desk, name, data, told):
    desk.put_controlnet("canny")
    desk.put(ModelType.CONTROLNET, f"{name}.safetensors").write_bytes(data)
    assert listing.model_list(desk.library).model_list == [f"canny [{EMPTY}]"]
    with pytest.raises(UnsupportedError, match=told):
        find(desk, name)


def test_a_whole_file_is_listed(desk):
    desk.put(ModelType.CONTROLNET, "whole.safetensors").write_bytes(small_files.safetensors(WHOLE))
    assert listing.model_list(desk.library).model_list == [f"whole [{EMPTY}]"]


def test_an_unknown_module_is_told_before_a_missing_controlnet(desk):
    with pytest.raises(UnsupportedError, match=r"args\.0\.module"):
        desk.txt2img(**SMALL, **scripts(unit(module="reference_only", model="None")))


def test_modules_are_listed_with_their_sliders_resolution_first(desk):
    told = listing.module_list(desk.plugins, by_label=False)
    assert told.module_list[:4] == ["none", "inpaint_only", "inpaint", "canny"]
    assert "openpose_full" in told.module_list  # also one that is down
    sliders = told.module_detail["blur_gaussian"].sliders
    assert [(each.name, each.field, each.value, each.min, each.max, each.step) for each in sliders] == [
        ("Resolution", "processor_res", 512, 64, 2048, 8),
        ("Sigma", "threshold_a", 9.0, 0.01, 64.0, 0.01),
    ]
    assert told.module_detail["none"].sliders == []


def test_modules_are_listed_by_their_labels_where_that_is_asked_for(desk):
    told = listing.module_list(desk.plugins, by_label=True)
    assert "inpaint_global_harmonious" in told.module_list and "Canny" in told.module_list
    assert list(told.module_detail) == told.module_list


def types(desk, family=None):
    return listing.control_types(desk.library, desk.plugins, family).control_types


def test_a_control_type_has_its_modules_and_the_controlnets_with_its_name(desk):
    for name in ("canny_sd15", "control_v11p_sd15_canny", "control_v11f1e_sd15_tile", "softblur"):
        desk.put_controlnet(name)
    told = types(desk)
    assert next(iter(told)) == "All"
    assert told["Canny"].module_list == ["none", "Canny", "invert (from white bg & black line)"]
    assert told["Canny"].model_list == [
        "None",
        f"canny_sd15 [{EMPTY}]",
        f"control_v11p_sd15_canny [{EMPTY}]",
    ]
    assert told["Canny"].default_option == "Canny"
    assert told["Canny"].default_model == f"control_v11p_sd15_canny [{EMPTY}]"
    assert told["Tile"].model_list[1:] == [f"control_v11f1e_sd15_tile [{EMPTY}]", f"softblur [{EMPTY}]"]
    assert len(told["All"].model_list) == 5


def test_a_control_type_without_anything_stands_for_nothing(desk):
    told = types(desk)["Depth"]
    assert (told.module_list, told.model_list) == (["none"], ["None"])
    assert (told.default_option, told.default_model) == ("none", "None")


def test_a_control_types_default_is_a_module_that_can_be_used(desk):
    assert types(desk)["OpenPose"].default_option == "openpose"


def test_where_no_module_of_a_control_type_can_be_used_the_usual_one_tells_why(desk):
    desk.put_controlnet("canny_sd15")
    desk.plugins.down = {"canny", "openpose"}
    told = types(desk)
    assert told["Canny"].default_option == "Canny"  # and not "invert", which makes no map of a photograph
    assert told["OpenPose"].default_option == "openpose_full"
    with pytest.raises(PluginUnavailable, match="canny"):
        desk.txt2img(**SMALL, **scripts({"control_type": "Canny", "image": "64x64"}))


def test_a_control_type_that_no_module_belongs_to_is_refused_unless_one_is_named(desk):
    desk.put_controlnet("depth_sd15")
    given = {"control_type": "Depth", "image": "64x64"}
    with pytest.raises(UnsupportedError, match=r"args\.0\.control_type"):
        desk.txt2img(**SMALL, **scripts(given))
    assert desk.txt2img(**SMALL, **scripts(given | {"module": "none"})).controls


@pytest.mark.parametrize(
    ("family", "name"), [(Family.SDXL, "canny_xl"), (Family.SD15, "canny_11"), (None, "canny_11")]
)
def test_a_control_types_default_fits_the_served_checkpoint(desk, family, name):
    desk.put_controlnet("canny_11")
    desk.put_controlnet("canny_xl", Family.SDXL)
    assert types(desk, family)["Canny"].default_model == f"{name} [{EMPTY}]"


def test_a_unit_that_names_only_a_control_type_gets_its_module_and_controlnet(desk):
    desk.served.path.write_bytes(small_files.checkpoint(Family.SDXL))
    desk.put_controlnet("canny_sd15")
    path = desk.put_controlnet("canny_xl", Family.SDXL)
    given = {"control_type": "canny", "image": "64x64"}
    (found,) = desk.txt2img(**SMALL, **scripts(given)).controls
    assert (found.module.name, found.network.path) == ("canny", path)


@pytest.mark.parametrize(
    ("own", "module", "name"),
    [
        ({"module": "none"}, "none", "canny_sd15"),
        ({"model": "other"}, "canny", "other"),
        ({"model": "other", "module": "invert"}, "invert", "other"),
    ],
)
def test_what_a_unit_says_itself_counts_more_than_its_control_type(desk, own, module, name):
    desk.put_controlnet("canny_sd15")
    desk.put_controlnet("other")
    given = {"control_type": "Canny", "image": "64x64"} | own
    (found,) = desk.txt2img(**SMALL, **scripts(given)).controls
    assert (found.module.name, found.network.path.stem) == (module, name)


def test_a_control_type_without_a_controlnet_is_refused(desk):
    desk.put_controlnet("canny_sd15")
    with pytest.raises(UnsupportedError, match=r"args\.0\.model"):
        desk.txt2img(**SMALL, **scripts(unit(control_type="Depth", model=None)))
