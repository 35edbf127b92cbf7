from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from sd_runtime import device
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.models import checkpoint
from sd_runtime.models.digests import DigestCache

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

MIDDLE = "model.diffusion_model.middle_block.0.in_layers.2.weight"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
CPU = device.choose("cpu")


def rewritten(source: Path, folder: Path, **changes: torch.Tensor | None) -> Path:
    weights = load_file(source)
    for name, value in changes.items():
        weights.pop(name, None)
        if value is not None:
            weights[name] = value
    path = folder / "changed.safetensors"
    save_file(weights, path)
    return path


def load_error(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path, CPU, DigestCache())
    return str(caught.value)


def test_what_is_loaded_is_the_files_own_weights(model: Model, checkpoint_file: Path) -> None:
    weights = load_file(checkpoint_file)
    assert torch.equal(model.unet.state_dict()["mid_block.resnets.0.conv1.weight"], weights[MIDDLE])
    query = weights["first_stage_model.decoder.mid.attn_1.q.weight"]
    assert torch.equal(
        model.vae.state_dict()["decoder.mid_block.attentions.0.to_q.weight"], query[:, :, 0, 0]
    )
    norm = weights["cond_stage_model.transformer.text_model.final_layer_norm.weight"]
    assert torch.equal(model.text.network.final_layer_norm.weight, norm)


def test_the_digest_is_of_the_whole_file(model: Model, checkpoint_file: Path) -> None:
    assert model.loaded.sha256 == hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()
    assert (model.loaded.family, model.loaded.path) == ("SD15", checkpoint_file)


def test_a_file_is_hashed_once_until_it_changes(checkpoint_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(checkpoint_file.read_bytes())
    digests = DigestCache()
    first = checkpoint.load(copy, CPU, digests).loaded.sha256
    stat = copy.stat()
    digests.put((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns), "remembered")
    assert checkpoint.load(copy, CPU, digests).loaded.sha256 == "remembered"
    rewritten(copy, tmp_path, **{MIDDLE: torch.zeros(64, 64, 3, 3)}).replace(copy)
    assert checkpoint.load(copy, CPU, digests).loaded.sha256 not in (first, "remembered")


def test_half_precision_files_are_widened_on_the_cpu(checkpoint_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file({name: value.half() for name, value in load_file(checkpoint_file).items()}, path)
    loaded = checkpoint.load(path, CPU, DigestCache())
    for network in (loaded.unet, loaded.vae, loaded.text.network):
        assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_old_files_without_the_text_models_own_prefix_load(checkpoint_file: Path, tmp_path: Path) -> None:
    weights = {name.replace(".text_model.", "."): value for name, value in load_file(checkpoint_file).items()}
    path = tmp_path / "old.safetensors"
    save_file(weights, path)
    assert checkpoint.load(path, CPU, DigestCache()).loaded.family == "SD15"


def test_no_tensor_is_left_without_memory(model: Model) -> None:
    for network in (model.unet, model.vae, model.text.network):
        assert not any(value.is_meta for value in [*network.parameters(), *network.buffers()])


def test_a_missing_tensor_is_named(checkpoint_file: Path, tmp_path: Path) -> None:
    message = load_error(rewritten(checkpoint_file, tmp_path, **{MIDDLE: None}))
    assert message.startswith("changed.safetensors: unet: missing tensors")
    assert "mid_block.resnets.0.conv1.weight" in message


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.surprise.weight",
        "first_stage_model.surprise.weight",
        "cond_stage_model.transformer.text_model.surprise.weight",
    ],
)
def test_an_unexpected_tensor_is_named(checkpoint_file: Path, tmp_path: Path, name: str) -> None:
    message = load_error(rewritten(checkpoint_file, tmp_path, **{name: torch.zeros(4)}))
    assert "unexpected tensors" in message and "surprise.weight" in message


def test_a_tensor_of_a_wrong_shape_is_named(checkpoint_file: Path, tmp_path: Path) -> None:
    message = load_error(rewritten(checkpoint_file, tmp_path, **{MIDDLE: torch.zeros(64, 32, 3, 3)}))
    assert "mid_block.resnets.0.conv1.weight" in message


def with_inputs(channels: int, source: Path, folder: Path) -> Path:
    return rewritten(source, folder, **{FIRST: torch.zeros(32, channels, 3, 3)})


def test_an_inpainting_checkpoint_is_loaded_and_tells_its_further_channels(
    checkpoint_file: Path, tmp_path: Path
) -> None:
    model = checkpoint.load(with_inputs(9, checkpoint_file, tmp_path), CPU, DigestCache())
    assert (model.latent_channels, model.extra_channels) == (4, 5)


@pytest.mark.parametrize(
    ("channels", "name"), [(8, "8 channels (instruct-pix2pix)"), (5, "5 channels (depth)"), (7, "7 channels")]
)
def test_other_further_channels_are_refused_by_name(
    checkpoint_file: Path, tmp_path: Path, channels: int, name: str
) -> None:
    message = load_error(with_inputs(channels, checkpoint_file, tmp_path))
    assert f"the unet takes {name}; supported: 4, as the vae gives, and 9 (inpainting)" in message


def test_what_was_loaded_tells_its_bytes_and_its_prediction(model: Model) -> None:
    networks = (model.unet, model.vae, model.text.network)  # type: ignore[attr-defined]
    assert model.loaded.bytes == sum(value.nbytes for net in networks for value in net.parameters())
    assert (model.prediction, model.loaded.prediction_reason) == (
        "epsilon",
        "what SD15 predicts without a mark",
    )


def test_a_mark_for_pure_noise_changes_the_schedule_of_a_network_that_predicts_v(
    checkpoint_file: Path, tmp_path: Path
) -> None:
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    model = checkpoint.load(rewritten(checkpoint_file, tmp_path, **marks), CPU, DigestCache())
    assert model.prediction == "v"
    assert model.discrete.sigma_max == pytest.approx(4518.8, abs=0.1)


def test_weights_take_the_format_of_the_device_and_the_decoder_its_own(checkpoint_file: Path) -> None:
    narrow = device.choose("cpu", dtype="bfloat16")
    model = checkpoint.load(checkpoint_file, narrow, DigestCache())
    assert {value.dtype for value in model.unet.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.vae.parameters()} == {torch.float32}


def test_a_cut_file_is_refused(checkpoint_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(checkpoint_file.read_bytes()[:-100])
    assert load_error(path).startswith("cut.safetensors: ")


def test_a_file_that_is_not_there_is_an_error_of_the_checkpoint(tmp_path: Path) -> None:
    assert (
        load_error(tmp_path / "absent.safetensors")
        == "absent.safetensors: cannot be read: No such file or directory"
    )


def absent(good: Path, folder: Path) -> Path:
    return folder / "absent.safetensors"


def a_folder(good: Path, folder: Path) -> Path:
    return folder


def of_other_bytes(good: Path, folder: Path) -> Path:
    return rewritten(good, folder, **{MIDDLE: torch.zeros(64, 64, 3, 3)})


def of_another_format(good: Path, folder: Path) -> Path:
    path = folder / "pickle.safetensors"
    path.write_bytes(b"\x80\x02}q\x00." * 100)
    return path


def without_a_tensor(good: Path, folder: Path) -> Path:
    return rewritten(good, folder, **{MIDDLE: None})


@pytest.mark.parametrize(
    ("fault", "may_pass"),
    [
        (absent, True),
        (a_folder, True),
        (of_other_bytes, True),
        (of_another_format, False),
        (without_a_tensor, False),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_may_pass_is_told_from_what_will_not(
    checkpoint_file: Path,
    tmp_path: Path,
    fault: Callable[[Path, Path], Path],
    may_pass: bool,
) -> None:
    path = fault(checkpoint_file, tmp_path)
    wanted = hashlib.sha256(checkpoint_file.read_bytes()).hexdigest() if may_pass else None
    with pytest.raises(CheckpointError, match=f"^{path.name}: ") as caught:
        checkpoint.load(path, CPU, DigestCache(), sha256=wanted)
    assert isinstance(caught.value, CheckpointUnavailable) is may_pass
