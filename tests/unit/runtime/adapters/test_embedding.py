import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from sd_runtime.adapters.embedding import MAX_VECTORS, Embedding, Embeddings, Skipped
from sd_runtime.models.library import Library

DEMO = Path(__file__).parents[4] / "demo" / "models" / "demo-goldie"
SD15 = (768,)
SDXL = (768, 1280)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    (tmp_path / "models").mkdir()
    return folder


def embeddings_in(folder: Path) -> Embeddings:
    return Embeddings(Library([folder.parent]))


def loaded(folder: Path, widths: tuple[int, ...] | None = None) -> dict[str, Embedding]:
    return embeddings_in(folder).for_widths(widths)[0]


def skipped(folder: Path, widths: tuple[int, ...] | None = None) -> dict[str, Skipped]:
    return embeddings_in(folder).for_widths(widths)[1]


def of_a1111(vectors: torch.Tensor) -> dict[str, Any]:
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": vectors},
        "name": "trained as",
        "step": 1500,
        "sd_checkpoint": "cc6cb27103",
        "sd_checkpoint_name": "v1-5",
    }


TWO = torch.arange(2 * 768, dtype=torch.float32).reshape(2, 768) / 1000
TWO_G = torch.arange(2 * 1280, dtype=torch.float32).reshape(2, 1280) / 1000


@pytest.mark.parametrize(
    ("file", "write", "expected"),
    [
        ("x.pt", lambda path: torch.save(of_a1111(TWO), path), (TWO,)),
        ("x.pt", lambda path: torch.save(of_a1111(torch.nn.Parameter(TWO)), path), (TWO,)),
        ("x.bin", lambda path: torch.save({"<cat-toy>": TWO[0]}, path), (TWO[:1],)),
        ("x.bin", lambda path: torch.save({"<cat-toy>": TWO}, path), (TWO,)),
        ("x.safetensors", lambda path: save_file({"emb_params": TWO}, path), (TWO,)),
        ("x.safetensors", lambda path: save_file({"<cat-toy>": TWO[0].contiguous()}, path), (TWO[:1],)),
        ("x.safetensors", lambda path: save_file({"emb_params": TWO.half()}, path), (TWO.half(),)),
        ("x.safetensors", lambda path: save_file({"emb_params": TWO.bfloat16()}, path), (TWO.bfloat16(),)),
        ("x.safetensors", lambda path: save_file({"emb_params": TWO.double()}, path), (TWO,)),
        ("x.safetensors", lambda path: save_file({"clip_g": TWO_G, "clip_l": TWO}, path), (TWO, TWO_G)),
        ("x.pt", lambda path: torch.save({"clip_g": TWO_G, "clip_l": TWO}, path), (TWO, TWO_G)),
        (
            "x.safetensors",
            lambda path: save_file({"text_encoders_0": TWO, "text_encoders_1": TWO_G}, path),
            (TWO, TWO_G),
        ),
    ],
)
def test_every_form_is_read(
    folder: Path, file: str, write: Callable[[Path], None], expected: tuple[torch.Tensor, ...]
) -> None:
    write(folder / file)
    found = loaded(folder)["x"]
    assert found.widths == tuple(tensor.shape[1] for tensor in expected)
    assert found.length == len(expected[0])
    for vectors, tensor in zip(found.vectors, expected, strict=True):
        assert vectors.dtype == np.float32
        assert torch.equal(torch.tensor(vectors), tensor.float())


class Danger:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo pwned",)


@pytest.mark.parametrize(
    ("file", "write", "reason"),
    [
        ("x.pt", lambda path: path.write_bytes(pickle.dumps(Danger())), "asks for .*system"),
        ("x.pt", lambda path: path.write_bytes(b"no pickle"), "."),
        ("x.pt", lambda path: path.write_bytes(b""), "."),
        ("x.bin", lambda path: torch.save({"a": 1}, path), "no tensor"),
        ("x.safetensors", lambda path: path.write_bytes(b""), "ends after 0 bytes"),
        ("x.safetensors", lambda path: path.write_bytes(b"\xff" * 100), "header claims"),
        ("x.safetensors", lambda path: path.write_bytes(b"\x20" + b"\0" * 7 + b"{}"), "header claims 32"),
        ("x.safetensors", lambda path: save_file({"a": TWO, "b": TWO.clone()}, path), "2 tensors"),
        ("x.safetensors", lambda path: save_file({"a": TWO.int()}, path), "type I32"),
        ("x.safetensors", lambda path: save_file({"a": TWO[None]}, path), r"shape \(1, 2, 768\)"),
        ("x.safetensors", lambda path: save_file({"a": torch.tensor(1.0)}, path), r"shape \(\)"),
        ("x.safetensors", lambda path: save_file({"a": torch.zeros(0, 768)}, path), "0 vectors"),
        ("x.safetensors", lambda path: save_file({"a": torch.zeros(76, 768)}, path), "76 vectors"),
        ("x.safetensors", lambda path: save_file({"a": torch.tensor([float("nan")])}, path), "not finite"),
        ("x.safetensors", lambda path: save_file({"a": torch.tensor([1e300]).double()}, path), "not finite"),
        (
            "x.safetensors",
            lambda path: save_file({"clip_l": TWO[:1].contiguous(), "clip_g": TWO_G}, path),
            "another number of vectors for each",
        ),
    ],
)
def test_a_file_that_teaches_no_word_is_skipped_with_the_reason(
    folder: Path, file: str, write: Callable[[Path], None], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write(folder / file)
    save_file({"emb_params": TWO}, folder / "good.safetensors")
    assert loaded(folder).keys() == {"good"}
    found = skipped(folder)["x"]
    assert found.embedding is None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)
    assert "pwned" not in capfd.readouterr().out


def test_a_truncated_file_is_skipped(folder: Path) -> None:
    path = folder / "x.safetensors"
    save_file({"emb_params": TWO}, path)
    path.write_bytes(path.read_bytes()[:-10])
    assert "promises a file of" in skipped(folder)["x"].reason


def test_a_file_far_too_large_is_not_read(folder: Path) -> None:
    with (folder / "x.pt").open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    assert "an embedding has at most" in skipped(folder)["x"].reason


def test_as_many_vectors_as_a_chunk_has_places_are_the_most(folder: Path) -> None:
    save_file({"a": torch.zeros(MAX_VECTORS, 768)}, folder / "x.safetensors")
    assert loaded(folder)["x"].length == MAX_VECTORS


def test_words_for_other_models_are_skipped_as_such(folder: Path) -> None:
    save_file({"emb_params": TWO}, folder / "small.safetensors")
    save_file({"clip_g": TWO_G, "clip_l": TWO}, folder / "large.safetensors")
    assert loaded(folder, SD15).keys() == skipped(folder, SDXL).keys() == {"small"}
    assert loaded(folder, SDXL).keys() == skipped(folder, SD15).keys() == {"large"}
    assert loaded(folder, None).keys() == {"small", "large"}
    told = skipped(folder, SD15)["large"].reason
    assert told == "made for another kind of model: its vectors are 768 and 1280 wide, this model's 768"


def test_of_two_files_for_one_word_the_safe_one_counts_and_the_other_is_told(folder: Path) -> None:
    torch.save(of_a1111(TWO), folder / "x.pt")
    save_file({"emb_params": TWO[:1].contiguous()}, folder / "x.safetensors")
    assert loaded(folder)["x"].length == 1
    assert skipped(folder)["x"].reason == "another file teaches the same word"


def test_of_two_files_for_one_word_the_one_that_fits_counts(folder: Path) -> None:
    torch.save(of_a1111(TWO), folder / "x.pt")
    save_file({"clip_g": TWO_G, "clip_l": TWO}, folder / "x.safetensors")
    assert loaded(folder, SD15)["x"].length == 2
    assert "another kind of model" in skipped(folder, SD15)["x"].reason


def test_a_word_may_lie_in_a_folder_of_its_own(folder: Path) -> None:
    (folder / "people").mkdir()
    save_file({"emb_params": TWO}, folder / "people" / "someone.safetensors")
    assert loaded(folder).keys() == {"someone"}


def test_files_come_change_and_go_while_it_runs(folder: Path) -> None:
    embeddings = embeddings_in(folder)
    revisions = [embeddings.revision]
    path = folder / "x.safetensors"
    for vectors in (TWO, TWO[:1].contiguous()):
        save_file({"emb_params": vectors}, path)
        revisions.append(embeddings.revision)
        assert embeddings.for_widths(SD15)[0]["x"].length == len(vectors)
    path.unlink()
    revisions.append(embeddings.revision)
    assert embeddings.for_widths(SD15) == ({}, {})
    assert len(set(revisions)) == 4
    assert embeddings.revision == revisions[-1]


def test_a_file_that_stays_the_same_is_read_once(folder: Path) -> None:
    save_file({"emb_params": TWO}, folder / "x.safetensors")
    embeddings = embeddings_in(folder)
    assert embeddings.for_widths(SD15)[0]["x"] is embeddings.for_widths(SD15)[0]["x"]


def test_the_answer_of_a1111s_route(folder: Path) -> None:
    torch.save(of_a1111(TWO), folder / "trained.pt")
    save_file({"clip_g": TWO_G, "clip_l": TWO}, folder / "large.safetensors")
    (folder / "broken.pt").write_bytes(b"")
    told = embeddings_in(folder).describe(SD15)
    assert told["loaded"] == {
        "trained": {
            "step": 1500,
            "sd_checkpoint": "cc6cb27103",
            "sd_checkpoint_name": "v1-5",
            "shape": 768,
            "vectors": 2,
        }
    }
    unknown = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
    large, broken = told["skipped"]["large"], told["skipped"]["broken"]
    assert large == {**unknown, "shape": 2048, "vectors": 2, "reason": large["reason"]}
    assert broken == {**unknown, "shape": 0, "vectors": 0, "reason": broken["reason"]}


def spelled(word: str) -> list[int]:
    """A tokenizer of letters, that knows no case."""
    return [ord(letter) for letter in word.lower()]


def test_triggers_are_found_by_their_first_token_the_longest_first(folder: Path) -> None:
    for name in ("Cat", "cats", "ca", "dog"):
        save_file({"emb_params": TWO}, folder / f"{name}.safetensors")
    triggers = embeddings_in(folder).triggers(SD15, spelled)
    assert [trigger.embedding.name for trigger in triggers[ord("c")]] == ["cats", "Cat", "ca"]
    assert [trigger.tokens for trigger in triggers[ord("d")]] == [tuple(spelled("dog"))]


def test_triggers_are_made_once_until_the_files_change(folder: Path) -> None:
    save_file({"emb_params": TWO}, folder / "cat.safetensors")
    embeddings = embeddings_in(folder)
    first = embeddings.triggers(SD15, spelled)
    assert embeddings.triggers(SDXL, spelled) == {}
    assert embeddings.triggers(SD15, spelled) is first
    save_file({"emb_params": TWO}, folder / "dog.safetensors")
    assert embeddings.triggers(SD15, spelled).keys() == {ord("c"), ord("d")}


def test_a_name_without_tokens_is_no_trigger(folder: Path) -> None:
    save_file({"emb_params": TWO}, folder / "cat.safetensors")
    assert embeddings_in(folder).triggers(SD15, lambda word: []) == {}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000), st.sampled_from([".pt", ".safetensors"]))
def test_a_damaged_file_is_read_or_skipped(folder: Path, damage: bytes, at: int, ending: str) -> None:
    for path in folder.iterdir():
        path.unlink()
    original = (DEMO / f"demo-goldie{ending}").read_bytes()
    (folder / f"x{ending}").write_bytes(original[:at] + damage + original[at + len(damage) :])
    words, faults = embeddings_in(folder).for_widths(None)
    assert words.keys() | faults.keys() == {"x"}


def test_both_files_of_the_demos_word_are_the_same_word(folder: Path) -> None:
    for name, ending in (("first", ".safetensors"), ("second", ".pt")):
        shutil.copy(DEMO / f"demo-goldie{ending}", folder / f"{name}{ending}")
    words = loaded(folder, (128,))
    assert np.array_equal(words["first"].vectors[0], words["second"].vectors[0])
    assert words["first"].short_hash == "59ac8c251e3f"
    second = words["second"]
    assert (second.step, second.sd_checkpoint, second.sd_checkpoint_name) == (150, None, "demo-sd15")


def test_a_hundred_words_are_looked_through_quickly(folder: Path) -> None:
    for i in range(100):
        save_file({"emb_params": TWO}, folder / f"word{i}.safetensors")
    embeddings = embeddings_in(folder)
    embeddings.triggers(SD15, spelled)
    began = time.perf_counter()
    for _ in range(10):
        embeddings.triggers(SD15, spelled)
    assert time.perf_counter() - began < 1
