import json
import struct
import tracemalloc

import pytest

from sd_modelfiles import header


def tensor(begin, end, *, dtype="U8", shape=None):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def test_a_header_gives_its_tensors_metadata_and_the_size_of_the_file(write, make):
    content = make({"a": (2, 3), "b": (), "empty": (0, 4)}, {"format": "pt"})
    found = header.read(write(content))
    assert found.tensors["a"] == header.TensorInfo("F16", (2, 3), 0, 12)
    assert found.tensors["b"] == header.TensorInfo("F16", (), 12, 14)
    assert found.tensors["empty"].begin == found.tensors["empty"].end == 14
    assert found.metadata == {"format": "pt"}
    assert found.file_size == len(content) == found.data_start + 14


def test_padding_behind_the_json_is_accepted(write, raw):
    document = json.dumps({"a": tensor(0, 4)}).encode() + b"   "
    assert header.read(write(raw(document, bytes(4)))).tensors["a"].end == 4


def test_a_header_without_tensors_is_a_header(write, raw):
    assert header.read(write(raw({}))).tensors == {}


REFUSED = {
    "not JSON": (b"{nonsense}", "not valid JSON"),
    "another JSON value": (b"[1]", "does not begin with '{'"),
    "brackets without end": (b'{"a":' + b"[" * 100_000, "'a' does not have exactly"),
    "brackets in a shape": (
        b'{"a":{"shape":' + b"[" * 1900 + b"}}",
        "'a': its description is not valid JSON",
    ),
    "braces without end": (b'{"a":' * 100_000, "'a' does not have exactly"),
    "a name twice": (
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
        b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        "'a' appears twice",
    ),
    "a part of a tensor twice": (b'{"a":{"dtype":"U8","dtype":"U8"}}', "twice"),
    "metadata twice": (b'{"__metadata__":{},"__metadata__":{}}', "'__metadata__' appears twice"),
    "a name of metadata twice": (b'{"__metadata__":{"a":"1","a":"2"}}', "'a' appears twice in __metadata__"),
    "metadata that is a list": (b'{"__metadata__":[]}', "__metadata__"),
    "nested metadata": (b'{"__metadata__":{"a":{}}}', "__metadata__"),
    "a second document": (b"{} {}", "something follows"),
    "no comma": (b'{"__metadata__":{"a":"1" "b":"2"}}', "expected ',' or '}'"),
    "a comma too many": (b'{"__metadata__":{"a":"1",}}', "a name in quotes"),
    "a name without quotes": (b"{a:1}", "a name in quotes"),
    "no colon": (b'{"a"}', "':' after a name"),
    "a text without end": (b'{"a', "not valid JSON"),
    "a control character in a name": (b'{"a\x00":{}}', "not valid JSON"),
    "half a surrogate pair": (b'{"\\ud800":{}}', "not valid JSON"),
    "bytes that are no UTF-8": (b'{"\xff":{}}', "not UTF-8"),
    "UTF-16": ("{}".encode("utf-16-le"), "a name in quotes"),
    "a number of a million digits": (
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,1]}}',
        "'a' does not have exactly",
    ),
    "a number of 1900 digits": (
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 1900 + b'],"data_offsets":[0,1]}}',
        "whole numbers",
    ),
    "more dimensions than PyTorch has": (
        {"a": tensor(0, 4, shape=[1] * 64 + [4])},
        "65 dimensions; at most 64",
    ),
    "NaN": (b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', "NaN"),
    "metadata that is no text": ({"__metadata__": {"a": 1}}, "__metadata__"),
    "a field too many": ({"a": {**tensor(0, 4), "more": 1}}, "exactly dtype, shape and data_offsets"),
    "no offsets": ({"a": {"dtype": "U8", "shape": [4]}}, "exactly dtype, shape and data_offsets"),
    "an unknown dtype": ({"a": tensor(0, 4, dtype="X9")}, "unknown dtype 'X9'"),
    "a negative side": ({"a": tensor(0, 4, shape=[-4])}, "shape"),
    "a true side": ({"a": tensor(0, 1, shape=[True])}, "shape"),
    "a fractional side": ({"a": tensor(0, 4, shape=[4.0])}, "shape"),
    "an enormous shape": ({"a": tensor(0, 4, shape=[2**62, 2**62])}, "too large"),
    "backward offsets": ({"a": tensor(0, 4) | {"data_offsets": [4, 0]}}, "begin <= end"),
    "three offsets": ({"a": tensor(0, 4) | {"data_offsets": [0, 2, 4]}}, "begin <= end"),
    "a shape that does not fill": ({"a": tensor(0, 4, shape=[3])}, "does not fill"),
    "overlapping tensors": ({"a": tensor(0, 4), "b": tensor(2, 6)}, "'b' overlaps"),
    "one place for two": ({"a": tensor(0, 4), "b": tensor(0, 4)}, "overlaps"),
    "a gap": ({"a": tensor(0, 4), "b": tensor(5, 6)}, "'b' leaves a gap"),
    "a gap at the front": ({"a": tensor(1, 4)}, "leaves a gap"),
}


@pytest.mark.parametrize(("document", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_lies_is_refused(write, raw, document, says):
    with pytest.raises(header.HeaderError, match=says):
        header.read(write(raw(document, bytes(6))))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "ends after 0 bytes"),
        (b"\x01\x00", "ends after 2 bytes"),
        (struct.pack("<Q", 1) + b"{", "at least 2"),
        (struct.pack("<Q", 2**63) + b"{}", "at most 104857600"),
        (struct.pack("<Q", 50) + b"{}", "the file has only 10"),
    ],
)
def test_a_length_that_lies_is_refused_before_anything_is_parsed(write, content, says):
    with pytest.raises(header.HeaderError, match=says):
        header.read(write(content))


@pytest.mark.parametrize("change", [-1, 1])
def test_the_file_must_have_the_size_its_header_promises(write, raw, change):
    with pytest.raises(header.HeaderError, match="promises a file of"):
        header.read(write(raw({"a": tensor(0, 10)}, bytes(10 + change))))


def test_a_limit_of_the_caller_is_held(write, make):
    with pytest.raises(header.HeaderError, match="at most 10 are allowed"):
        header.read(write(make({"a": (1,)})), limit=10)


def names(template, count):
    return ",".join(template.replace("#", f"{number:x}") for number in range(count)).encode()


HOSTILE = {
    "many small tensors": b"{"
    + names('"#":{"dtype":"U8","shape":[257,0],"data_offsets":[0,0]}', 5_000)
    + b"}",
    "many dimensions": b"{"
    + names('"#":{"dtype":"U8","shape":[' + "0," * 63 + '0],"data_offsets":[0,0]}', 1_000)
    + b"}",
    "many words of metadata": b'{"__metadata__":{' + names('"#":"\u0100"', 30_000) + b"}}",
    "letters that take four times the memory": b'{"__metadata__":{"a":"'
    + b"x" * 600_000
    + '\U0001f600"}}'.encode(),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_header_takes_no_more_than_the_stated_multiple_of_memory(document):
    tracemalloc.start()
    try:
        parsed = header.parse(document)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert parsed.tensors or parsed.metadata
    assert kept <= peak <= header.MEMORY_FACTOR * len(document)
