"""Folders of A1111, ComfyUI and others are read by their own layouts."""

import pytest
import yaml
from import_folders import ANNOTATOR, CONTROLNET, EMBEDDING, LORA, SD15, SDXL, UPSCALER, VAE, Folder, Run


def test_a_folder_of_a1111_is_read(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/base.safetensors", SD15)
    folder.safetensors("models/Stable-diffusion/base.vae.safetensors", VAE)
    folder.safetensors("models/VAE/ft-mse.safetensors", VAE)
    folder.safetensors("models/Lora/style.safetensors", LORA)
    folder.safetensors("models/LyCORIS/other.safetensors", LORA)
    folder.safetensors("embeddings/easynegative.safetensors", EMBEDDING)
    folder.safetensors("models/ControlNet/canny.safetensors", CONTROLNET)
    folder.safetensors("extensions/sd-webui-controlnet/models/depth.safetensors", CONTROLNET)
    folder.safetensors(
        "extensions/sd-webui-controlnet/annotator/downloads/openpose/body.safetensors", ANNOTATOR
    )
    folder.safetensors("models/ESRGAN/4x.safetensors", UPSCALER)
    folder.safetensors("models/RealESRGAN/x4plus.safetensors", UPSCALER)
    outcome = run()
    assert outcome.code == 0
    assert outcome.types == {
        "models/Stable-diffusion/base.safetensors": "Checkpoint",
        "models/Stable-diffusion/base.vae.safetensors": "VAE",
        "models/VAE/ft-mse.safetensors": "VAE",
        "models/Lora/style.safetensors": "LoRA",
        "models/LyCORIS/other.safetensors": "LoRA",
        "embeddings/easynegative.safetensors": "TextualInversion",
        "models/ControlNet/canny.safetensors": "ControlNet",
        "extensions/sd-webui-controlnet/models/depth.safetensors": "ControlNet",
        "extensions/sd-webui-controlnet/annotator/downloads/openpose/body.safetensors": "Annotator",
        "models/ESRGAN/4x.safetensors": "Upscaler",
        "models/RealESRGAN/x4plus.safetensors": "Upscaler",
    }
    assert "by its tensors" not in outcome.err


def test_a_folder_of_comfyui_is_read(folder: Folder, run: Run) -> None:
    folder.safetensors("models/checkpoints/base.safetensors", SDXL)
    folder.safetensors("models/loras/style.sft", LORA)
    folder.safetensors("models/vae/ft-mse.safetensors", VAE)
    folder.safetensors("models/embeddings/bad.safetensors", EMBEDDING)
    folder.safetensors("models/controlnet/canny.safetensors", CONTROLNET)
    folder.safetensors("models/upscale_models/4x.safetensors", UPSCALER)
    folder.safetensors(
        "custom_nodes/ComfyUI_ControlNet_Aux/ckpts/lllyasviel/Annotators/body.safetensors", ANNOTATOR
    )
    folder.safetensors("models/clip_vision/vit.safetensors", ANNOTATOR)
    outcome = run()
    assert outcome.types == {
        "models/checkpoints/base.safetensors": "Checkpoint",
        "models/vae/ft-mse.safetensors": "VAE",
        "models/loras/style.sft": "LoRA",
        "models/embeddings/bad.safetensors": "TextualInversion",
        "models/controlnet/canny.safetensors": "ControlNet",
        "models/upscale_models/4x.safetensors": "Upscaler",
        "custom_nodes/ComfyUI_ControlNet_Aux/ckpts/lllyasviel/Annotators/body.safetensors": "Annotator",
    }
    assert outcome.file_names["models/loras/style.sft"] == "style.safetensors"
    assert outcome.line("models/clip_vision") == (
        "left out: models/clip_vision: 1 file of a kind that no bundle has"
    )


@pytest.mark.parametrize(
    ("checkpoint", "lora"),
    [
        ("data/models/Stable-diffusion/a.safetensors", "data/models/Lora/b.safetensors"),
        ("data/StableDiffusion/a.safetensors", "data/Lora/b.safetensors"),
    ],
    ids=["as since version 8", "as before"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["the repository", "its data folder"])
def test_a_folder_of_stable_diffusion_webui_docker_is_read(
    folder: Folder, run: Run, checkpoint: str, lora: str, inside: bool
) -> None:
    controlnet = "data/config/auto/extensions/sd-webui-controlnet/models/c.safetensors"
    for path, shapes in ((checkpoint, SD15), (lora, LORA), (controlnet, CONTROLNET)):
        folder.safetensors(path, shapes)
    folder.safetensors("data/embeddings/d.safetensors", EMBEDDING)
    folder.safetensors("data/.cache/huggingface/e.safetensors", SD15)
    outcome = run(of=folder.root / "data" if inside else None)
    drop = "data/" if inside else ""
    assert {f"{path.removeprefix(drop)}": kind for path, kind in outcome.types.items()} == {
        checkpoint.removeprefix(drop): "Checkpoint",
        lora.removeprefix(drop): "LoRA",
        "data/embeddings/d.safetensors".removeprefix(drop): "TextualInversion",
        controlnet.removeprefix(drop): "ControlNet",
    }


def test_the_models_folder_alone_is_read(folder: Folder, run: Run) -> None:
    folder.safetensors("Stable-diffusion/a.safetensors", SD15)
    folder.safetensors("hypernetworks/h.safetensors", LORA)
    assert run().types == {
        "Stable-diffusion/a.safetensors": "Checkpoint",
        "hypernetworks/h.safetensors": "LoRA",
    }


def test_extra_model_paths_are_honoured_inside_the_folder_only(folder: Folder, run: Run) -> None:
    elsewhere = folder.root.parent / "elsewhere"
    elsewhere.mkdir()
    folder.safetensors("models/checkpoints/base.safetensors", SD15)
    folder.safetensors("shared/styles/one.safetensors", LORA)
    folder.safetensors("shared/more/two.safetensors", LORA)
    folder.safetensors("models/mine/three.safetensors", CONTROLNET)
    extra = {
        "a111": {"base_path": "shared", "loras": "styles\nmore\nmissing", "configs": "styles"},
        "comfyui": {"base_path": str(folder.root), "controlnet": "models/mine", "vae": str(elsewhere)},
        "empty": None,
    }
    folder.bytes("extra_model_paths.yaml", yaml.safe_dump(extra).encode())
    outcome = run()
    assert outcome.types == {
        "models/checkpoints/base.safetensors": "Checkpoint",
        "shared/styles/one.safetensors": "LoRA",
        "shared/more/two.safetensors": "LoRA",
        "models/mine/three.safetensors": "ControlNet",
    }
    assert f"left out: {elsewhere}: lies outside" in outcome.err
    assert "shared/missing is no folder on this machine" in outcome.line("extra_model_paths.yaml")
    assert "models/mine" not in outcome.err


@pytest.mark.parametrize(
    "content", [b"a: [", b"- 1", b"{a: {loras: {b: c}}}", b"[" * 100_000, b"\xff\xfe\x00", b""]
)
def test_extra_model_paths_that_make_no_sense_do_no_harm(folder: Folder, run: Run, content: bytes) -> None:
    folder.safetensors("models/checkpoints/base.safetensors", SD15)
    folder.bytes("extra_model_paths.yaml", content)
    assert len(run().files) == 1
