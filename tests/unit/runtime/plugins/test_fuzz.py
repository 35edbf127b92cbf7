"""Whatever a plugin sends, it is read as the contract says or refused with a sentence."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sd_runtime.plugins import archive, description
from sd_runtime.plugins.faults import BrokenContract
from sd_runtime.plugins.states import ModuleState
from tests.unit.runtime.plugins import misbehaving
from tests.unit.runtime.plugins.misbehaving import npy, packed, result

PIXELS = 64
HONEST = result(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def unpacked(body):
    try:
        image, info = archive.unpack(body, most_pixels=PIXELS)
    except BrokenContract as error:
        assert 0 < len(str(error)) < 400
        return None
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert 1 <= image.shape[0] * image.shape[1] <= PIXELS
    json.dumps(info, allow_nan=False)
    return image, info


def described(body):
    try:
        found = description.read(body, name="good", kind=None)
    except BrokenContract as error:
        assert 0 < len(str(error)) < 1000
        assert str(error).isprintable()
        return None
    for module in found.states():
        assert isinstance(module, ModuleState)
        assert len([each for each in module.parameters if each.name != "resolution"]) <= 2
        assert (module.factor is None) == (found.kind == "Preprocessor")
    return found


@given(st.binary(max_size=300))
def test_bytes_are_no_answer(body):
    assert unpacked(body) is None


@given(st.lists(st.tuples(st.integers(0, len(HONEST) - 1), st.integers(0, 255)), max_size=6))
@example([])
def test_an_answer_with_changed_bytes_is_the_same_or_refused(changes):
    body = bytearray(HONEST)
    for place, value in changes:
        body[place] = value
    found = unpacked(bytes(body))
    if bytes(body) == HONEST:
        assert found is not None
    # The picture has a checksum; what else may change is not read.
    assert found is None or np.array_equal(found[0].ravel(), np.arange(60))


@given(st.integers(0, len(HONEST) - 1))
def test_a_part_of_an_answer_is_refused(length):
    assert unpacked(HONEST[:length]) is None
    assert unpacked(HONEST[len(HONEST) - length :]) is None


@given(
    st.lists(st.integers(-2, 2**40), max_size=4),
    st.sampled_from(["|u1", "<u1", "|i1", "<f4", "|O", "|V3", "<M8[s]", "u1", "[('a','|u1')]", "x" * 40]),
    st.booleans(),
    st.binary(max_size=200),
    st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]),
)
@example([4, 5, 3], "|u1", False, bytes(60), (1, 0))
def test_a_picture_with_any_header_is_read_or_refused(shape, dtype, fortran, data, version):
    text = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {tuple(shape)}, }}\n".encode()
    picture = b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2, "little") + text + data
    unpacked(packed({"image.npy": picture, "result.json": b"{}"}))


@given(st.text(max_size=400))
@example("(" * 400)
@example("{" * 400)
@example("-" * 400 + "1")
@example("{'descr': '|u1', 'fortran_order': False, 'shape': (9" + "9" * 300 + ",), }")
@example("{'descr': ('|u1', 3), 'fortran_order': False, 'shape': (4, 5, 3), }")
@example("{'descr': '|u1', 'fortran_order': False, 'shape': (True, True, 3), }")
@example("{'descr': '|u1', 'fortran_order': False, 'shape': (4L, 5L, 3L), }")
@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning", "ignore::SyntaxWarning")
def test_a_header_that_is_any_text_is_refused(text):
    data = text.encode("utf-8", "replace") + b"\n"
    picture = b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(60)
    unpacked(packed({"image.npy": picture, "result.json": b"{}"}))


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_any_object_of_numbers_that_json_has_is_read_as_it_is(info):
    body = packed({"image.npy": npy(np.zeros((1, 1, 3), np.uint8)), "result.json": json.dumps(info).encode()})
    found = unpacked(body)
    if found is not None:
        assert found[1] == info


@given(st.binary(max_size=200))
def test_bytes_are_no_description(body):
    assert described(body) is None


@given(JSON)
def test_an_object_is_no_description(value):
    assert described(json.dumps(value).encode()) is None


@given(st.data())
def test_a_description_with_any_value_in_one_place_is_read_or_refused(data):
    given = misbehaving.description(modules=[misbehaving.module()])
    place = given
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not inner or not isinstance(inner, (dict, list)) or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(JSON)
    described(json.dumps(given).encode())


def test_an_archive_that_says_it_has_a_million_entries_is_refused_before_they_are_read():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number in range(2000):
            made.writestr(str(number), b"")
    with pytest.raises(BrokenContract, match="2000 entries"):
        archive.unpack(buffer.getvalue(), most_pixels=PIXELS)
