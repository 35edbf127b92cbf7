"""The table of the docs: it tells of every route, field and option, once."""

import pytest

from sd_runtime.a1111 import compatibility, coverage, fields
from sd_runtime.a1111.option_table import CHANGEABLE, FIXED
from sd_runtime.a1111.schemas.extras import ExtrasBatchRequest, ExtrasSingleRequest


@pytest.fixture(scope="module")
def text():
    return compatibility.markdown()


def rows(text, title):
    """The cells of the first table behind a heading."""
    lines = iter(text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines())
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]


@pytest.mark.parametrize("title", compatibility.SCHEMAS)
def test_every_field_has_one_treatment(title):
    schema, _ = compatibility.SCHEMAS[title]
    for field in schema.model_fields.values():
        fields.mark_of(field)


@pytest.mark.parametrize("title", compatibility.SCHEMAS)
def test_every_field_is_told_once_where_it_belongs(text, title):
    schema, base = compatibility.SCHEMAS[title]
    own = [name for name in schema.model_fields if base is None or name not in base.model_fields]
    assert [row[0].strip("`") for row in rows(text, f"Fields of {title}")] == own
    assert own


@pytest.mark.parametrize(
    ("title", "name", "told"),
    [
        ("txt2img and img2img", "width", "64 to 16384, multiples of 8"),
        ("txt2img and img2img", "cfg_scale", "0 to 100"),
        ("txt2img and img2img", "seed", f"-1 to {2**63 - 1}"),
        ("txt2img and img2img", "s_noise", "0 to 1000"),
        ("txt2img and img2img", "override_settings", "at most 256 items"),
        ("txt2img", "hr_scale", "0 to 8"),
        ("img2img", "mask_blur", "0 to 256"),
        ("img2img", "inpaint_full_res_padding", "0 to 1024"),
        ("img2img", "initial_noise_multiplier", "0 to 1.5"),
        ("extra-single-image and extra-batch-images", "upscaling_resize", "above 0 to 8"),
        ("extra-batch-images", "imageList", "1 to 256 items"),
    ],
)
def test_a_limit_is_told_beside_the_field_that_has_it(text, title, name, told):
    cells = {row[0].strip("`"): row for row in rows(text, f"Fields of {title}")}
    assert cells[name][2] == told


@pytest.mark.parametrize("title", compatibility.SCHEMAS)
def test_every_served_number_has_its_limits_told(text, title):
    schema, _ = compatibility.SCHEMAS[title]
    properties = schema.model_json_schema()["properties"]
    for row in rows(text, f"Fields of {title}"):
        told = properties[row[0].strip("`")]
        kinds = {branch.get("type") for branch in (told, *told.get("anyOf", ()))}
        if kinds & {"integer", "number"} and row[3] == "served":
            assert " to " in row[2], row


def test_every_option_is_told_with_its_default(text):
    told = {row[0].strip("`"): row[1] for row in rows(text, "Options")}
    assert {*CHANGEABLE, *FIXED, "sd_model_checkpoint", "sd_checkpoint_hash"} <= set(told)
    assert (told["jpeg_quality"], told["emphasis"]) == ("`80`", '`"Original"`')


def test_no_route_is_both_served_and_not():
    assert set(coverage.SERVED) & set(coverage.NOT_SERVED) == set()


def test_every_row_has_as_many_cells_as_its_table(text):
    tables = [part.splitlines() for part in text.replace("\\|", "").split("\n\n") if part.startswith("|")]
    assert len(tables) == 2 + len(compatibility.SCHEMAS)
    for table in tables:
        assert len({line.count("|") for line in table}) == 1, table[0]


#: What clients send that fill in every field.
EVERYTHING = {
    "resize_mode": 0,
    "show_extras_results": True,
    "gfpgan_visibility": 0,
    "codeformer_visibility": 0,
    "codeformer_weight": 0,
    "upscaling_resize": 2,
    "upscaling_resize_w": 512,
    "upscaling_resize_h": 512,
    "upscaling_crop": True,
    "upscaler_1": "None",
    "upscaler_2": None,
    "extras_upscaler_2_visibility": 0,
    "upscale_first": False,
    "made_up": 1,
}


@pytest.mark.parametrize(
    ("schema", "own"),
    [
        (ExtrasSingleRequest, {"image": "aGk="}),
        (ExtrasBatchRequest, {"imageList": [{"data": "aGk=", "name": "a"}]}),
    ],
)
def test_a_body_with_every_field_is_accepted(schema, own):
    request = schema.model_validate(EVERYTHING | own)
    fields.refuse_unserved(request)
    assert set(schema.model_fields) == {*EVERYTHING, *own} - {"made_up"}
