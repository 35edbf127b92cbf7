"""Options: what can be changed, what is refused, and that a change is whole or not at all."""

import json
import threading
from dataclasses import fields
from pathlib import Path

import pytest

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.option_table import CHANGEABLE, FIXED
from sd_runtime.a1111.options import Options, Served, Values
from sd_runtime.errors import NotLoaded, UnsupportedError

FILES = {
    ModelType.VAE: ["soft.safetensors"],
    ModelType.LORA: ["gilded", "midnight"],
    ModelType.HYPERNETWORK: [],
    ModelType.UPSCALER: ["R-ESRGAN 4x+"],
    ModelType.CHECKPOINT: ["a.safetensors [ab12ab12ab]", "b.safetensors"],
}


class Models:
    """Serves checkpoint a, knows another one, and some files of the other types."""

    def means_served(self, name):
        return name in ("a", "ab12", "a.safetensors [ab12ab12ab]")

    def checkpoint(self, name):
        return "b.safetensors" if name in ("b", "b.safetensors") else None

    def has(self, kind, name):
        return name in FILES[kind]

    def names(self, kind):
        return FILES[kind]


@pytest.fixture
def options():
    return Options(output_root=Path("/outputs"))


def current(options):
    return options.as_dict(checkpoint_title="a.safetensors [ab12ab12ab]", checkpoint_sha256="ab12")


def served(options, *, models=None, text_layers=12):
    return Served(current=current(options), models=models or Models(), text_layers=text_layers)


def change(options, **changes):
    return options.overridden(changes, served(options))


CHANGES = {
    "CLIP_stop_at_last_layers": 2,
    "sd_vae": "soft.safetensors",
    "sd_lora": "gilded",
    "sd_hypernetwork": "None",
    "emphasis": "No norm",
    "comma_padding_backtrack": 0,
    "enable_prompt_comments": False,
    "sdxl_refiner_high_aesthetic_score": 7.5,
    "sdxl_refiner_low_aesthetic_score": 1,
    "randn_source": "NV",
    "eta_noise_seed_delta": 31337,
    "eta_ancestral": 0.5,
    "eta_ddim": 0.25,
    "s_churn": 1,
    "s_tmin": 0.1,
    "s_tmax": 7.5,
    "s_noise": 1.003,
    "s_min_uncond": 1.5,
    "sgm_noise_multiplier": True,
    "always_discard_next_to_last_sigma": True,
    "sigma_min": 0.03,
    "sigma_max": 14.6,
    "rho": 5,
    "uni_pc_variant": "bh2",
    "uni_pc_order": 2,
    "uni_pc_lower_order_final": False,
    "beta_dist_alpha": 0.5,
    "beta_dist_beta": 1.5,
    "upscaler_for_img2img": "R-ESRGAN 4x+",
    "img2img_fix_steps": True,
    "img2img_color_correction": True,
    "img2img_background_color": "#00FF7f",
    "initial_noise_multiplier": 0.9,
    "ESRGAN_tile": 0,
    "ESRGAN_tile_overlap": 16,
    "samples_save": False,
    "samples_format": "webp",
    "jpeg_quality": 95,
    "webp_lossless": True,
    "enable_pnginfo": False,
    "return_grid": False,
    "grid_save": False,
    "live_previews_enable": False,
    "control_net_unit_count": 5,
    "control_net_no_detectmap": True,
}


def test_the_whole_answer_of_get_can_be_sent_back(options):
    assert change(options, **current(options)) == Values()
    options.change(CHANGES, served(options))
    as_client_has_it = json.loads(json.dumps(current(options)))
    assert change(options, **as_client_has_it) == options.overridden({}, served(options))


@pytest.mark.parametrize(("name", "value"), CHANGES.items())
def test_a_change_counts_once_it_is_kept(options, name, value):
    change(options, **{name: value})
    assert current(options)[name] == getattr(Values(), CHANGEABLE[name].attribute)
    options.change({name: value}, served(options))
    assert current(options)[name] == value


def test_every_option_is_in_the_table_above_and_every_value_has_its_option():
    assert set(CHANGES) == set(CHANGEABLE)
    attributes = [option.attribute for option in CHANGEABLE.values()]
    assert sorted([*attributes, "checkpoint"]) == sorted(field.name for field in fields(Values))


@pytest.mark.parametrize("name", CHANGEABLE)
def test_the_value_built_in_is_one_that_the_option_takes(options, name):
    built_in = current(options)[name]
    assert CHANGEABLE[name].accepts(built_in)
    assert built_in == getattr(Values(), CHANGEABLE[name].attribute)


def test_the_gpus_generator_is_kept_as_the_one_that_is_the_same_everywhere(options):
    assert change(options, randn_source="GPU").randn_source == "NV"


def test_whole_numbers_may_come_as_javascript_writes_them(options):
    assert change(options, jpeg_quality=90.0).jpeg_quality == 90
    assert type(change(options, jpeg_quality=90.0).jpeg_quality) is int


def test_the_served_checkpoint_may_be_named_in_any_spelling(options):
    assert change(options, sd_model_checkpoint="ab12", sd_checkpoint_hash="") == Values()


def test_another_checkpoint_is_named_for_one_request_and_never_kept(options):
    assert change(options, sd_model_checkpoint="b") == Values(checkpoint="b.safetensors")
    options.change({"sd_model_checkpoint": "b", "jpeg_quality": 50}, served(options))
    assert options.overridden({}, served(options)) == Values(jpeg_quality=50)


def test_another_checkpoint_may_have_more_text_layers_than_the_served_one(options):
    changes = {"sd_model_checkpoint": "b", "CLIP_stop_at_last_layers": 12}
    values = options.overridden(changes, served(options, text_layers=4))
    assert (values.checkpoint, values.clip_skip) == ("b.safetensors", 12)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CLIP_stop_at_last_layers", 0, "1 to 12"),
        ("CLIP_stop_at_last_layers", 13, "1 to 12"),
        ("CLIP_stop_at_last_layers", True, "1 to 12"),
        ("CLIP_stop_at_last_layers", "2", "1 to 12"),
        ("samples_save", 1, "true, false"),
        ("samples_save", None, "true, false"),
        ("sd_vae", "other.safetensors", '"Automatic", "None", "soft.safetensors"'),
        ("sd_vae", None, '"Automatic"'),
        ("sd_lora", "gone", '"None", "gilded", "midnight"'),
        ("sd_hypernetwork", "gone", '"None"'),
        ("upscaler_for_img2img", "4x-Gone", '"Lanczos", "Nearest", "R-ESRGAN 4x+"'),
        ("sd_model_checkpoint", "c", '"a.safetensors [ab12ab12ab]", "b.safetensors"'),
        ("sd_model_checkpoint", None, '"b.safetensors"'),
        ("sd_checkpoint_hash", "ffff", "sd_model_checkpoint names a checkpoint"),
        ("samples_format", "gif", '"png", "jpg", "webp"'),
        ("randn_source", "TPU", '"CPU", "NV", "GPU"'),
        ("randn_source", ["CPU"], '"CPU"'),
        ("emphasis", "Loud", '"Original"'),
        ("eta_noise_seed_delta", False, "0 to"),
        ("eta_noise_seed_delta", 1.5, "whole numbers"),
        ("eta_ancestral", 10.1, "0 to 10"),
        ("eta_ancestral", float("nan"), "0 to 10"),
        ("s_tmax", float("inf"), "0 to 1000"),
        ("jpeg_quality", 10**400, "1 to 100"),
        ("img2img_background_color", "white", "#rrggbb"),
        ("token_merging_ratio", 0.5, "token merging"),
        ("face_restoration_model", "GFPGAN", "null (face restoration"),
        ("outdir_txt2img_samples", "/etc", "/outputs"),
        ("no_such_option", 1, "sd_model_checkpoint"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_and_value(options, name, value, told):
    with pytest.raises(UnsupportedError, match=name) as caught:
        change(options, **{"jpeg_quality": 50, name: value})
    assert caught.value.value == value or caught.value.value is value
    assert told in caught.value.allowed


def test_a_long_list_of_files_is_cut_in_a_refusal(options):
    class Many(Models):
        def names(self, kind):
            return [f"lora {number}" for number in range(50)]

    with pytest.raises(UnsupportedError, match=r'"lora 18" and 31 more'):
        options.overridden({"sd_lora": "gone"}, served(options, models=Many()))


def test_a_value_stays_acceptable_when_its_file_is_gone(options):
    options.change({"sd_lora": "gilded"}, served(options))

    class Gone(Models):
        def has(self, kind, name):
            return False

    assert options.overridden({"sd_lora": "gilded"}, served(options, models=Gone())).lora == "gilded"


def test_no_option_is_both_changeable_and_fixed():
    assert set(CHANGEABLE) & set(FIXED) == set()


def test_clip_skip_is_judged_by_the_layers_of_the_loaded_text_encoder(options):
    options.change({"CLIP_stop_at_last_layers": 4}, served(options, text_layers=4))
    with pytest.raises(UnsupportedError, match=r"CLIP_stop_at_last_layers: 5 .* 1 to 4"):
        options.change({"CLIP_stop_at_last_layers": 5}, served(options, text_layers=4))
    assert current(options)["CLIP_stop_at_last_layers"] == 4


def test_before_the_load_clip_skip_can_only_be_sent_back_as_it_is(options):
    unloaded = served(options, text_layers=None)
    options.change({"CLIP_stop_at_last_layers": 1, "samples_save": False}, unloaded)
    with pytest.raises(NotLoaded, match="CLIP_stop_at_last_layers"):
        options.change({"CLIP_stop_at_last_layers": 2}, unloaded)


def test_of_two_changes_at_once_neither_is_lost(options):
    other = threading.Thread(target=lambda: options.change({"sd_vae": "None"}, served(options)))

    class WhileAnotherChanges(Models):
        def means_served(self, name):
            other.start()
            other.join(timeout=0.2)  # it may not finish before this change does
            return True

    changes = {"sd_model_checkpoint": "another spelling", "samples_save": False}
    options.change(changes, served(options, models=WhileAnotherChanges()))
    other.join()
    assert (current(options)["samples_save"], current(options)["sd_vae"]) == (False, "None")


def take_defaults(options, wished, text_layers=12):
    return options.take_defaults(wished, served(options, text_layers=text_layers))


def test_wished_defaults_count_and_those_that_cannot_be_honoured_are_returned_by_name(options):
    wished = {
        "CLIP_stop_at_last_layers": 13,
        "samples_save": False,
        "samples_format": "gif",
        "sd_vae": "gone",
        "save_to_dirs": True,
        "sd_model_checkpoint": "a",
        "nonsense": 1,
    }
    refused = take_defaults(options, wished)
    assert [error.field for error in refused] == [
        "CLIP_stop_at_last_layers",
        "samples_format",
        "sd_vae",
        "sd_model_checkpoint",
        "nonsense",
    ]
    assert "spec.checkpoint" in refused[3].allowed
    assert "samples_save" in refused[4].allowed
    told = current(options)
    assert (told["CLIP_stop_at_last_layers"], told["samples_save"]) == (1, False)


def test_a_default_that_is_not_wished_any_more_becomes_the_one_built_in(options):
    take_defaults(options, {"CLIP_stop_at_last_layers": 2, "samples_save": False})
    take_defaults(options, {"samples_save": False})
    told = current(options)
    assert (told["CLIP_stop_at_last_layers"], told["samples_save"]) == (1, False)


def test_other_defaults_end_what_clients_changed_and_the_same_ones_do_not(options):
    take_defaults(options, {"CLIP_stop_at_last_layers": 2})
    options.change({"samples_save": False, "CLIP_stop_at_last_layers": 3}, served(options))
    take_defaults(options, {"CLIP_stop_at_last_layers": 2})
    assert (current(options)["samples_save"], current(options)["CLIP_stop_at_last_layers"]) == (False, 3)
    take_defaults(options, {"CLIP_stop_at_last_layers": 4})
    assert (current(options)["samples_save"], current(options)["CLIP_stop_at_last_layers"]) == (True, 4)


def test_a_change_that_the_next_model_cannot_honour_gives_way_to_the_default(options):
    take_defaults(options, {"CLIP_stop_at_last_layers": 2})
    options.change({"samples_save": False, "CLIP_stop_at_last_layers": 12}, served(options))
    assert take_defaults(options, {"CLIP_stop_at_last_layers": 2}, 4) == []
    assert (current(options)["samples_save"], current(options)["CLIP_stop_at_last_layers"]) == (False, 2)


def test_a_default_beyond_one_model_is_honoured_again_by_the_next(options):
    wished = {"CLIP_stop_at_last_layers": 12}
    take_defaults(options, wished)
    (refused,) = take_defaults(options, wished, 4)
    assert "1 to 4" in refused.allowed
    assert current(options)["CLIP_stop_at_last_layers"] == 1
    assert take_defaults(options, wished) == []
    assert current(options)["CLIP_stop_at_last_layers"] == 12
