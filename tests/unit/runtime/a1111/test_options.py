"""Options: what can be changed, what is refused, and that a change is whole or not at all."""

import pytest

from sd_runtime.a1111.options import CHANGEABLE, FIXED, Options, Values
from sd_runtime.errors import UnsupportedError


@pytest.fixture
def options():
    return Options(output_folder="/outputs/txt2img-images")


def current(options):
    return options.as_dict(checkpoint_title="a.safetensors [ab12ab12ab]", checkpoint_sha256="ab12")


def change(options, **changes):
    return options.overridden(changes, current(options), names_served=lambda name: name in ("a", "ab12"))


def test_the_whole_answer_of_get_can_be_sent_back(options):
    assert change(options, **current(options)) == Values()
    options.keep(Values(clip_skip=2, save_samples=False, vae="None"))
    assert change(options, **current(options)) == Values(clip_skip=2, save_samples=False, vae="None")


def test_changes_count_once_they_are_kept(options):
    values = change(options, CLIP_stop_at_last_layers=2, samples_save=False, sd_vae="None")
    assert current(options)["CLIP_stop_at_last_layers"] == 1
    options.keep(values)
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
