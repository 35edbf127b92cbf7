"""What the page says: both languages, beside the field, and where a job stands."""

import json
import string
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from sd_page import words
from sd_page.api import Refused, refusal_of
from sd_page.blocks import can_be_told, names_another_file
from sd_page.following import Standing
from sd_page.layout import standing
from sd_page.layout.form import Form, as_text, plain

_SAID = words._CORE | words._SENTENCES


@pytest.mark.parametrize("key", _SAID)
def test_every_sentence_is_there_in_both_languages_with_the_same_places(key: str) -> None:
    places = [
        {name for _, name, _, _ in string.Formatter().parse(text) if name is not None} for text in _SAID[key]
    ]
    assert all(_SAID[key])
    assert places[0] == places[1]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9", "en"),
        ("de-DE,zh-TW;q=0.5,en;q=0.3", "zh"),
        ("fr", "en"),
        ("", "en"),
    ],
)
def test_sentences_are_in_the_first_language_that_the_page_has(header: str, language: str) -> None:
    assert words.language_of({"accept-language": header}) == language
    assert words.language_of({}) == "en"


def status(**fields: Any) -> Standing:
    return Standing(**{"id": "7", "state": "running"} | fields)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (status(state="queued", position=3), "Waiting: place 3 in the queue"),
        (status(state="queued", position=3, eta=12.4), "Waiting: place 3 in the queue · 12 s left"),
        (status(), "Starting …"),
        (status(step=4, steps=20, eta=0.2), "Step 4 of 20 · 1 s left"),
        (status(step=20, steps=20), "Finishing …"),
    ],
)
def test_where_a_job_stands_is_a_sentence(at: Standing, told: str) -> None:
    assert standing.sentence_of("en", at) == told


def test_a_bar_tells_how_far_it_is_to_those_who_cannot_see_it() -> None:
    shown = standing.shown("en", status(progress=0.256, step=1, steps=4, preview=b"png"))
    assert 'role="progressbar"' in shown
    assert 'aria-valuenow="26"' in shown
    assert 'alt="Preview of the picture"' in shown


def test_what_the_interface_says_is_text_and_never_markup() -> None:
    assert "<b>" not in standing.alert("prompt: <b>")
    assert "<b>" not in standing.told("<b>")


@pytest.fixture
async def form() -> Form:
    # In a loop, as on the server: without one Gradio makes one, and leaves it open.
    made = Form("txt2img")
    with gr.Blocks(analytics_enabled=False):
        made.add("prompt", gr.Textbox(label="Prompt"))
        made.add("steps", gr.Slider(1, 150, 20, info="of a pass", elem_classes="own"))
        made.add("override_settings.sd_vae", gr.Dropdown([]))
        made.add("image", gr.Image(), gr.Markdown())
    return made


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ("prompt", "prompt"),
        ("sd_vae", "override_settings.sd_vae"),
        ("override_settings.sd_vae", "override_settings.sd_vae"),
        ("steps.0.more", "steps"),
        ("elsewhere", None),
        (None, None),
    ],
)
def test_a_sentence_stands_beside_the_field_that_it_names(
    form: Form, named: str | None, field: str | None
) -> None:
    complaint = form.complaint(Refused(422, "Unsupported", "not so", named))
    if field is None:
        assert complaint is None
    else:
        assert complaint is not None
        assert complaint[0] == [field]
        assert complaint[1][form[field]]["info"] == "not so"


def test_what_a_field_said_before_is_said_again_once_the_sentence_goes(form: Form) -> None:
    complaint = form.complaint(Refused(422, "Unsupported", "not so", "steps"))
    assert complaint is not None
    assert complaint[1][form["steps"]]["elem_classes"] == ["own", "sd-refused"]
    cleared = form.cleared("steps")[form["steps"]]
    assert (cleared["info"], cleared["elem_classes"]) == ("of a pass", ["own"])
    assert form.cleared("prompt")[form["prompt"]]["info"] == ""
    assert form.cleared() == {}


def test_a_picture_has_its_sentence_beside_it(form: Form) -> None:
    complaint = form.complaint(Refused(422, "Unsupported", "not so", "image"))
    assert complaint is not None
    (update,) = complaint[1].values()
    assert (update["value"], update["visible"]) == ("not so", True)
    (cleared,) = form.cleared("image").values()
    assert (cleared["value"], cleared["visible"]) == ("", False)


FILE = {"path": "/tmp/x.png", "meta": {"_type": "gradio.FileData"}, "url": "/file=x"}


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (3, 3),
        (["a"], ["a"]),
        (FILE, "/tmp/x.png"),
        ([{"image": FILE, "caption": None}], [("/tmp/x.png", None)]),
        ({"background": FILE, "layers": [FILE]}, {"background": "/tmp/x.png", "layers": ["/tmp/x.png"]}),
        (None, None),
    ],
)
def test_files_are_their_paths(sent: Any, value: Any) -> None:
    assert plain(sent) == value


@pytest.mark.parametrize(
    ("named", "is_one"),
    [
        ("{folder}/x.png", False),
        ("{folder}/a/../x.png", False),
        ("{folder}/../other/x.png", True),
        ("{folder}/link/x.png", True),
        ("{folder}-beside/x.png", True),
        ("/etc/passwd", True),
        ("x.png", True),
        ("", True),
        ("{folder}/x\0.png", True),
        ("https://example.org/x.png", True),
        (" HTTP://169.254.169.254/", True),
        ("file://{folder}/x.png", True),
        (7, True),
        ([], True),
        (None, False),
    ],
)
@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {"meta": {}}, {}], ids=str)
def test_only_files_of_the_pages_folder_may_be_named(
    tmp_path: Path, named: Any, is_one: bool, meta: dict[str, Any]
) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    (folder / "link").symlink_to(tmp_path / "other")
    path = named.format(folder=folder) if isinstance(named, str) else named
    file = {"path": path, **meta}
    for sent in ([file], [{"image": file, "caption": None}], [{"background": None, "layers": [file]}]):
        assert names_another_file(["a prompt of /etc/passwd", 3, sent], folder) is is_one


def test_what_a_refusal_repeats_is_no_markdown() -> None:
    assert as_text("model: '![x](http://e/p.png) <img>'") == r"model: '!\[x\](http\://e/p.png) \<img\>'"
    assert as_text("WWW.e.org a@e.org _x_ #1") == r"WWW\.e.org a\@e.org \_x\_ \#1"


@pytest.mark.parametrize(
    ("value", "can"),
    [
        ([{"value": 2**64 - 1}], True),
        ([{"value": 2**64}], False),
        ((["x", -(2**63) - 1],), False),
        ({"choices": [("a", 1.0), (None, True)]}, True),
    ],
    ids=str,
)
def test_no_answer_has_a_number_that_would_end_its_stream(value: Any, can: bool) -> None:
    assert can_be_told(value) is can


def test_a_fields_sentence_has_no_links_either(form: Form) -> None:
    complaint = form.complaint(Refused(422, "Unsupported", "prompt: '[x](//e)' <a>", "prompt"))
    assert complaint is not None
    info = complaint[1][form["prompt"]]["info"]
    assert "](" not in info
    assert info.replace("\u2060", "") == "prompt: '[x](//e)' <a>"


def test_each_complaint_stands_beside_its_own_field_in_the_forms_words(form: Form) -> None:
    detail = (
        "parameters.steps: 999 is not supported; allowed: 1 to 150; parameters.prompt: 7 is no text;"
        " parameters.elsewhere: no"
    )
    refused = refusal_of(422, json.dumps({"error": "Invalid", "detail": detail}).encode())
    complaint = form.complaint(refused)
    assert complaint is not None
    assert complaint[0] == ["steps", "prompt"]
    assert complaint[1][form["steps"]]["info"] == "steps: 999 is not supported; allowed: 1 to 150"
    assert complaint[1][form["prompt"]]["info"] == "prompt: 7 is no text; elsewhere: no"
    assert set(form.cleared(*complaint[0])) == {form["steps"], form["prompt"]}
    assert "parameters." not in refused.told


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_file_that_cannot_be_used_is_told_of_in_a_sentence_for_people(
    form: Form, tmp_path: Path, language: str
) -> None:
    text, large, fine = tmp_path / "x.txt", tmp_path / "l.png", tmp_path / "f.png"
    text.write_text("no picture")
    Image.new("L", (9, 9)).save(large)
    Image.new("L", (8, 8)).save(fine)
    for path, told in (
        (text, words.sentence(language, "not_a_picture")),
        (large, words.sentence(language, "too_many_pixels", width=9, height=9, most=64)),
    ):
        (update,) = form.judged("image", str(path), 64, language).values()
        assert (update["value"], update["visible"]) == (told, True)
    for given in (str(fine), None):
        (update,) = form.judged("image", given, 64, language).values()
        assert (update["value"], update["visible"]) == ("", False)
