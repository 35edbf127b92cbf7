"""What people and tools wrote about a model file: all of its forms, and what must not get through."""

import json

import pytest

from sd_runtime.models import notes
from sd_runtime.models.notes import Folder, Notes


def beside(folder, **files):
    for ending, content in files.items():
        name = f"beacon.{ending.replace('_', '.')}"
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return Folder(folder, folder).notes("beacon")


def test_what_its_user_wrote_counts_more_than_what_civitai_tells(tmp_path):
    own = {"activation text": "beacon, at dawn", "preferred weight": 0.7, "description": ""}
    civitai = {"trainedWords": ["other"], "description": "<p>Towers &amp; light</p><p>by the sea</p>"}
    assert beside(tmp_path, json=own, civitai_info=civitai) == Notes(
        ("beacon", "at dawn"), "Towers & light by the sea", 0.7
    )


def test_what_lies_beside_counts_more_than_what_stands_within(tmp_path):
    within = notes.within({"modelspec.trigger_phrase": "x", "modelspec.description": "of the trainer"})
    assert beside(tmp_path, json={"activation text": "y"}).before(within) == Notes(("y",), "of the trainer")


def test_the_description_of_the_model_stands_in_for_that_of_the_version(tmp_path):
    told = {"description": None, "model": {"description": "of the model"}}
    assert beside(tmp_path, civitai_info=told).description == "of the model"


def test_of_the_tags_of_a_training_the_most_frequent_are_told():
    tags = {"one": {f"tag {number}": number for number in range(20)}, "two": {"tag 3": 100, " tag 1": 0}}
    words = notes.within({"ss_tag_frequency": json.dumps(tags)}).trigger_words
    assert words[:3] == ("tag 3", "tag 19", "tag 18")
    assert len(words) == 8


def test_a_trigger_phrase_is_told_before_tags():
    metadata = {"modelspec.trigger_phrase": "beacon", "ss_tag_frequency": '{"a": {"b": 1}}'}
    assert notes.within(metadata).trigger_words == ("beacon",)


@pytest.mark.parametrize(
    "hostile",
    [
        "no JSON",
        "[1]",
        "[" * 100_000,
        '{"activation text": 7, "description": {"a": 1}, "preferred weight": "1"}',
        '{"preferred weight": NaN}',
        '{"preferred weight": 1e300}',
        '{"preferred weight": true}',
        '{"preferred weight": 0}',
        '{"trainedWords": 3, "model": []}',
        '{"trainedWords": [null, {}, ["a"]]}',
        '{"description": "<p>  </p>"}',
    ],
)
def test_what_is_no_note_says_nothing(tmp_path, hostile):
    assert beside(tmp_path, json=hostile, civitai_info=hostile) == notes.NOTHING


@pytest.mark.parametrize(
    "tags", ["{", '{"a": 1}', '{"a": {"b": "c"}}', '{"a": {"b": 1e400}}', '{"a": {"": 1}}']
)
def test_tags_that_are_none_say_nothing(tags):
    assert notes.within({"ss_tag_frequency": tags}) == notes.NOTHING


def test_long_texts_are_cut_and_many_words_too(tmp_path):
    many = ",".join(f"word {number}" for number in range(1000))
    found = beside(tmp_path, json={"activation text": many + ",x" * 500, "description": "long " * 5000})
    assert len(found.trigger_words) == 16
    assert len(found.description) == 1000
    assert found.description.endswith("…")


def test_notes_that_are_too_large_are_not_read(tmp_path):
    told = {"description": "x", "filler": "y" * (5 * 1024 * 1024)}
    assert beside(tmp_path, json=told) == notes.NOTHING


def test_notes_are_read_again_when_they_change(tmp_path):
    assert beside(tmp_path, json={"description": "before"}).description == "before"
    assert beside(tmp_path, json={"description": "afterwards"}).description == "afterwards"


def test_a_preview_comes_before_another_picture(tmp_path):
    for ending in ("png", "preview.webp"):
        (tmp_path / f"beacon.{ending}").touch()
    assert Folder(tmp_path, tmp_path).picture("beacon") == tmp_path / "beacon.preview.webp"
    assert Folder(tmp_path, tmp_path).picture("other") is None


def test_a_folder_that_is_not_there_has_no_notes(tmp_path):
    folder = Folder(tmp_path / "nowhere", tmp_path)
    assert (folder.notes("a"), folder.picture("a")) == (notes.NOTHING, None)
