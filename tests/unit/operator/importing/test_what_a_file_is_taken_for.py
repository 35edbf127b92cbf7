"""Types come from headers; pickles are let in only when asked for."""

import os
from pathlib import Path

import torch
from import_folders import LORA, SD15, UPSCALER, Folder, Run, tensors

# --- types


def test_the_header_has_the_last_word_on_the_type(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    folder.safetensors("models/Stable-diffusion/style.safetensors", LORA)
    outcome = run()
    assert outcome.types["models/Stable-diffusion/style.safetensors"] == "LoRA"
    note = "lies where Checkpoints lie, but by its tensors is a LoRA; taken as that"
    assert outcome.line("models/Stable-diffusion/style.safetensors").endswith(note)
    assert f"  # {note}\n  - name: style\n" in outcome.out


def test_a_file_that_contradicts_every_use_is_left_out(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    folder.safetensors("models/Stable-diffusion/what.safetensors", {"some.weight": (2, 2)})
    outcome = run()
    assert list(outcome.types) == ["models/Stable-diffusion/a.safetensors"]
    assert outcome.line("models/Stable-diffusion/what.safetensors").startswith("left out: ")


# --- pickles


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


def test_pickles_are_left_out_by_name_unless_asked_for(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    folder.pickle("models/Stable-diffusion/b.ckpt", {"state_dict": tensors(SD15, 1)})
    folder.pickle("embeddings/c.pt", {"string_to_param": {"*": torch.zeros(2, 768)}})
    outcome = run()
    assert list(outcome.types) == ["models/Stable-diffusion/a.safetensors"]
    assert "--pickles scan" in outcome.line("models/Stable-diffusion/b.ckpt")
    assert "--pickles scan" in outcome.line("embeddings/c.pt")
    assert "formatPolicy" not in outcome.manifests[0]["spec"]


def test_scanned_pickles_are_let_in_and_those_with_code_are_not(folder: Folder, run: Run) -> None:
    folder.pickle("models/Stable-diffusion/b.ckpt", {"state_dict": tensors(SD15, 1)})
    folder.pickle("embeddings/c.pt", {"string_to_param": {"*": torch.zeros(2, 768)}, "name": "c"})
    folder.pickle("models/hypernetworks/h.pt", {768: [tensors({"linear.0.weight": (4, 768)}, 2)] * 2})
    folder.pickle("models/ESRGAN/u.pth", {"params_ema": tensors(UPSCALER, 3)})
    folder.pickle("models/Lora/evil.pt", {"a": Evil()})
    outcome = run("--pickles", "scan")
    assert outcome.types == {
        "models/Stable-diffusion/b.ckpt": "Checkpoint",
        "embeddings/c.pt": "TextualInversion",
        "models/hypernetworks/h.pt": "Hypernetwork",
        "models/ESRGAN/u.pth": "Upscaler",
    }
    assert outcome.manifests[0]["spec"]["formatPolicy"] == "ScanPickle"
    assert "system" in outcome.line("models/Lora/evil.pt")
    assert not Path("executed").exists()


def test_the_content_decides_what_is_a_pickle_not_the_name(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.ckpt", SD15)
    folder.pickle("models/Stable-diffusion/b.safetensors", {"state_dict": tensors(SD15, 1)})
    outcome = run()
    assert outcome.file_names == {"models/Stable-diffusion/a.ckpt": "a.safetensors"}
    assert "a pickle" in outcome.line("models/Stable-diffusion/b.safetensors")
