"""Options: what can be changed, what is refused, and that a change is whole or not at all."""

import threading

import pytest

from sd_runtime.a1111.options import CHANGEABLE, FIXED, Options, Served, Values
from sd_runtime.errors import NotLoaded, UnsupportedError


@pytest.fixture
def options():
    return Options(output_folder="/outputs/txt2img-images")


def current(options):
    return options.as_dict(checkpoint_title="a.safetensors [ab12ab12ab]", checkpoint_sha256="ab12")


def served(options, *, names=lambda name: name in ("a", "ab12"), text_layers=12):
    return Served(current=current(options), names=names, text_layers=text_layers)


def change(options, **changes):
    return options.overridden(changes, served(options))


def test_the_whole_answer_of_get_can_be_sent_back(options):
    assert change(options, **current(options)) == Values()
    options.change({"CLIP_stop_at_last_layers": 2, "samples_save": False, "sd_vae": "None"}, served(options))
    assert change(options, **current(options)) == Values(clip_skip=2, save_samples=False, vae="None")


def test_changes_count_once_they_are_kept(options):
    changes = {"CLIP_stop_at_last_layers": 2, "samples_save": False, "sd_vae": "None"}
    change(options, **changes)
    assert current(options)["CLIP_stop_at_last_layers"] == 1
    options.change(changes, served(options))
    told = current(options)
    assert (told["CLIP_stop_at_last_layers"], told["samples_save"], told["sd_vae"]) == (2, False, "None")


def test_the_served_checkpoint_may_be_named_in_any_spelling(options):
    assert change(options, sd_model_checkpoint="ab12", sd_checkpoint_hash="") == Values()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CLIP_stop_at_last_layers", 0, "1 to 12"),
        ("CLIP_stop_at_last_layers", 13, "1 to 12"),
        ("CLIP_stop_at_last_layers", True, "1 to 12"),
        ("CLIP_stop_at_last_layers", "2", "1 to 12"),
        ("samples_save", 1, "true, false"),
        ("samples_save", None, "true, false"),
        ("sd_vae", "other.safetensors", "Automatic"),
        ("sd_model_checkpoint", "b", "spec.checkpoint"),
        ("sd_model_checkpoint", None, "spec.checkpoint"),
        ("sd_checkpoint_hash", "ffff", "spec.checkpoint"),
        ("samples_format", "jpg", '"png"'),
        ("randn_source", "NV", '"CPU"'),
        ("eta_noise_seed_delta", 31337, "0"),
        ("eta_noise_seed_delta", False, "0"),
        ("outdir_txt2img_samples", "/etc", "/outputs"),
        ("no_such_option", 1, "sd_model_checkpoint"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_and_value(options, name, value, told):
    with pytest.raises(UnsupportedError, match=name) as caught:
        change(options, **{"CLIP_stop_at_last_layers": 2, name: value})
    assert caught.value.value == value or caught.value.value is value
    assert told in caught.value.allowed


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

    def names_while_another_changes(name):
        other.start()
        other.join(timeout=0.2)  # it may not finish before this change does
        return True

    changes = {"sd_model_checkpoint": "another spelling", "samples_save": False}
    options.change(changes, served(options, names=names_while_another_changes))
    other.join()
    assert (current(options)["samples_save"], current(options)["sd_vae"]) == (False, "None")


def test_wished_defaults_count_and_those_that_cannot_be_honoured_are_returned_by_name(options):
    wished = {
        "CLIP_stop_at_last_layers": 13,
        "samples_save": False,
        "samples_format": "jpg",
        "enable_pnginfo": True,
        "sd_model_checkpoint": "a",
        "nonsense": 1,
    }
    refused = options.take_defaults(wished, 12)
    assert [error.field for error in refused] == [
        "CLIP_stop_at_last_layers",
        "samples_format",
        "sd_model_checkpoint",
        "nonsense",
    ]
    assert "spec.checkpoint" in refused[2].allowed
    assert "samples_save" in refused[3].allowed
    told = current(options)
    assert (told["CLIP_stop_at_last_layers"], told["samples_save"]) == (1, False)


def test_a_default_that_is_not_wished_any_more_becomes_the_one_built_in(options):
    options.take_defaults({"CLIP_stop_at_last_layers": 2, "samples_save": False}, 12)
    options.take_defaults({"samples_save": False}, 12)
    told = current(options)
    assert (told["CLIP_stop_at_last_layers"], told["samples_save"]) == (1, False)


def test_other_defaults_end_what_clients_changed_and_the_same_ones_do_not(options):
    options.take_defaults({"CLIP_stop_at_last_layers": 2}, 12)
    options.change({"samples_save": False, "CLIP_stop_at_last_layers": 3}, served(options))
    options.take_defaults({"CLIP_stop_at_last_layers": 2}, 12)
    assert (current(options)["samples_save"], current(options)["CLIP_stop_at_last_layers"]) == (False, 3)
    options.take_defaults({"CLIP_stop_at_last_layers": 4}, 12)
    assert (current(options)["samples_save"], current(options)["CLIP_stop_at_last_layers"]) == (True, 4)


def test_a_change_that_the_next_model_cannot_honour_gives_way_to_the_default(options):
    options.take_defaults({"CLIP_stop_at_last_layers": 2}, 12)
    options.change({"samples_save": False, "CLIP_stop_at_last_layers": 12}, served(options))
    assert options.take_defaults({"CLIP_stop_at_last_layers": 2}, 4) == []
    assert (current(options)["samples_save"], current(options)["CLIP_stop_at_last_layers"]) == (False, 2)


def test_a_default_beyond_one_model_is_honoured_again_by_the_next(options):
    wished = {"CLIP_stop_at_last_layers": 12}
    options.take_defaults(wished, 12)
    (refused,) = options.take_defaults(wished, 4)
    assert "1 to 4" in refused.allowed
    assert current(options)["CLIP_stop_at_last_layers"] == 1
    assert options.take_defaults(wished, 12) == []
    assert current(options)["CLIP_stop_at_last_layers"] == 12
