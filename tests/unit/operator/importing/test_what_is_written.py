"""What a bundle says of the files of a folder."""

import hashlib
import json
import os
import re
import struct
from pathlib import Path

import torch
from import_folders import EMBEDDING, LORA, SD15, SDXL, UPSCALER, VAE, Folder, Run

# --- what is written


def test_an_entry_says_where_the_file_is_what_it_is_and_its_digest(folder: Folder, run: Run) -> None:
    path = folder.safetensors("models/Stable-diffusion/Base v1.safetensors", SD15)
    outcome = run("--name", "mine", "--prefix", "/pool/./webui/")
    assert outcome.manifests == [
        {
            "apiVersion": "sdoperator.dev/v1alpha1",
            "kind": "ModelBundle",
            "metadata": {"name": "mine"},
            "spec": {
                "storage": {"size": "2Gi"},
                "files": [
                    {
                        "name": "base-v1",
                        "type": "Checkpoint",
                        "family": "SD15",
                        "source": {
                            "volume": {
                                "claimName": "old-models",
                                "path": "pool/webui/models/Stable-diffusion/Base v1.safetensors",
                            }
                        },
                        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    }
                ],
            },
        }
    ]
    assert outcome.err == "1 file in 1 bundle, 0 left out\n"


def test_the_name_comes_from_the_folder(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    odd = folder.root.rename(folder.root.parent / "Méin _Web UI!")
    assert run(of=odd).manifests[0]["metadata"]["name"] == "mein-web-ui"
    nameless = odd.rename(folder.root.parent / "模型")
    assert run(of=nameless).manifests[0]["metadata"]["name"] == "models"


def test_no_hash_leaves_digests_out_and_reads_headers_only(folder: Folder, run: Run) -> None:
    path = folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    os.link(path, path.with_name("b.safetensors"))
    outcome = run("--no-hash")
    assert [file["name"] for file in outcome.files] == ["a"]
    assert "sha256" not in outcome.files[0]
    assert outcome.line("models/Stable-diffusion/b.safetensors").endswith(
        "the same file as models/Stable-diffusion/a.safetensors"
    )


def test_a_family_that_the_file_does_not_show_is_not_written(folder: Folder, run: Run) -> None:
    folder.safetensors("models/ESRGAN/4x.safetensors", UPSCALER)
    folder.safetensors("models/checkpoints/xl.safetensors", SDXL)
    assert [file.get("family") for file in run().files] == ["SDXL", None]


def sparse(path: Path, size: int) -> None:
    """A safetensors file whose data take no room on the disk."""
    header = json.dumps(
        {"module.weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    ).encode()
    path.parent.mkdir(parents=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)


def test_the_volume_has_room_for_the_files_and_some_more_and_headers_are_enough_to_tell(
    folder: Folder, run: Run
) -> None:
    sparse(folder.root / "models/Annotators/a.safetensors", 40 * 1024**3)
    sparse(folder.root / "models/ControlNetPreprocessor/b.safetensors", 10 * 1024**3)
    outcome = run("--no-hash")
    assert list(outcome.types.values()) == ["Annotator", "Annotator"]
    assert outcome.manifests[0]["spec"]["storage"]["size"] == "57Gi"


def test_more_files_than_a_bundle_holds_become_several_bundles(folder: Folder, run: Run) -> None:
    for number in range(130):
        folder.safetensors(f"models/Lora/style-{number:03}.safetensors", LORA)
    outcome = run("--name", "styles")
    assert [manifest["metadata"]["name"] for manifest in outcome.manifests] == [
        "styles-1",
        "styles-2",
        "styles-3",
    ]
    assert [len(manifest["spec"]["files"]) for manifest in outcome.manifests] == [64, 64, 2]
    assert len({file["name"] for file in outcome.files}) == 130
    assert outcome.err.endswith("130 files in 3 bundles, 0 left out\n")


def test_two_runs_print_the_same(folder: Folder, run: Run) -> None:
    for number in (3, 1, 2):
        folder.safetensors(f"models/Lora/{number}/{number}.safetensors", LORA)
        folder.safetensors(f"models/Lora/{number}/same.safetensors", LORA)
    assert run().out == run().out


def test_the_yaml_holds_no_text_that_a_reader_takes_for_something_else(folder: Folder, run: Run) -> None:
    for name in ("y", "no", "1e3", "0x1f", "12", "null", "1.5", "~"):
        folder.safetensors(f"models/Lora/{name}.safetensors", LORA)
    text = run("--no-hash").out
    assert sorted(re.findall(r"(?<=- name: ).*", text)) == sorted(
        ["'0x1f'", "'12'", "'1-5'", "'1e3'", "'no'", "'null'", "'y'", "lora"]
    )


# --- names


def test_names_that_break_the_rules_are_made_lawful(folder: Folder, run: Run) -> None:
    long = "x" * 188 + ".safetensors"
    given = {
        "models/Lora/Über Stil (v2).safetensors": "Uber Stil (v2).safetensors",
        "models/Lora/模型.safetensors": "lora.safetensors",
        "models/Lora/画风 style.safetensors": "_ style.safetensors",
        "models/Lora/SHOUT.SAFETENSORS": "SHOUT.safetensors",
        "models/Lora/a&b;c.safetensors": "a_b_c.safetensors",
        "models/Lora/plain name.v1.safetensors": None,
        f"models/Lora/{long}": None,
        f"models/Lora/{'y' * 230}.safetensors": f"{'y' * 188}.safetensors",
    }
    for path in given:
        folder.safetensors(path, LORA)
    outcome = run()
    assert outcome.file_names == given
    assert outcome.names["models/Lora/Über Stil (v2).safetensors"] == "uber-stil-v2"
    assert outcome.names["models/Lora/模型.safetensors"] == "lora"
    assert len(outcome.names[f"models/Lora/{long}"]) == 63
    assert outcome.line("models/Lora/a&b;c.safetensors").endswith(
        ": becomes models/Lora/a_b_c.safetensors: its own name is not allowed"
    )


def test_subfolders_are_flattened_and_files_of_one_name_kept_apart(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/anime/Style.safetensors", LORA)
    folder.safetensors("models/Lora/photo/style.safetensors", LORA)
    folder.safetensors("models/Lora/style.safetensors", LORA)
    folder.safetensors("models/LyCORIS/style.safetensors", LORA)
    folder.safetensors("models/Lora/photo/other.safetensors", LORA)
    outcome = run()
    assert outcome.file_names == {
        "models/Lora/style.safetensors": None,
        "models/LyCORIS/style.safetensors": "style-2.safetensors",
        "models/Lora/anime/Style.safetensors": "anime_Style.safetensors",
        "models/Lora/photo/other.safetensors": None,
        "models/Lora/photo/style.safetensors": "photo_style.safetensors",
    }
    assert list(outcome.names.values()) == ["style", "style-2", "anime-style", "other", "photo-style"]
    assert outcome.line("models/Lora/photo/other.safetensors").endswith(
        "becomes models/Lora/other.safetensors: a bundle has no subfolders"
    )
    assert outcome.line("models/Lora/photo/style.safetensors").endswith("its own name is taken")


def test_of_a_model_in_two_formats_the_safetensors_file_keeps_the_name(folder: Folder, run: Run) -> None:
    folder.pickle("embeddings/word.pt", {"string_to_param": {"*": torch.zeros(2, 768)}})
    folder.safetensors("embeddings/word.safetensors", EMBEDDING)
    outcome = run("--pickles", "scan")
    assert outcome.file_names == {
        "embeddings/word.safetensors": None,
        "embeddings/word.pt": "word-2.safetensors",
    }


def test_files_of_two_types_may_have_one_file_name_but_not_one_name(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/same.safetensors", SD15)
    folder.safetensors("models/VAE/same.safetensors", VAE)
    outcome = run()
    assert list(outcome.names.values()) == ["same", "same-2"]
    assert list(outcome.file_names.values()) == [None, None]
