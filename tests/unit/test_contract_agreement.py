"""The conformance command and the runtime judge by models of their own, for neither imports the other; what
one accepts the other must, and what one refuses the other must, too. One corpus is fed to both."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy_format
from pydantic import ValidationError

from sd_plugin.conformance.demand import Broken
from sd_plugin.conformance.describing import judge_health
from sd_plugin.conformance.probe import MOST_ERROR_BYTES, MOST_HEALTH_BYTES, Answer, Made
from sd_plugin.conformance.probe import read as read_answer
from sd_plugin.conformance.running import judge_size
from sd_plugin.contract import ModuleDescription, PluginDescription
from sd_runtime.plugins import archive, asking, description, health, sizes
from sd_runtime.plugins.faults import BrokenContract

_DOCS = (Path(__file__).parents[2] / "docs/plugin-contract.md").read_text()
_EXAMPLE = re.search(r"^```json\n(.*?)^```", _DOCS, re.DOTALL | re.MULTILINE)
_MOST_PIXELS = 16 * 1024 * 1024


def _described(**changes: Any) -> dict[str, Any]:
    """The docs' description without any key that may be left out."""
    assert _EXAMPLE is not None
    whole = json.loads(_EXAMPLE[1])
    whole["modules"] = [{"name": "pixelate", "label": "Pixelate"}]
    return dict(whole) | changes


def _module(**changes: Any) -> dict[str, Any]:
    return _described(modules=[{"name": "pixelate", "label": "Pixelate"} | changes])


def _parameter(**changes: Any) -> dict[str, Any]:
    usual = {"name": "square", "label": "Square", "type": "integer", "default": 2, "minimum": 0}
    return _module(parameters=[usual | {"maximum": 9, "step": 1} | changes])


def _named(count: int) -> list[dict[str, str]]:
    return [{"name": f"m{number}", "label": "M"} for number in range(count)]


def _limits(**changes: Any) -> dict[str, Any]:
    return _described(limits={"pixels": 4_000_000, "seconds": 10.0} | changes)


_DESCRIPTIONS: dict[str, tuple[bool, Any]] = {
    "the docs' own": (True, json.loads(_EXAMPLE[1]) if _EXAMPLE else {}),
    "every optional key left out": (True, _described()),
    "keys that nobody knows": (True, _module(colour="red") | {"later": {"deep": [1]}}),
    "contract 2": (False, _described(contract=2)),
    "contract 1.0": (False, b'{"contract": 1.0' + json.dumps(_described())[14:].encode()),
    "contract true": (False, _described(contract=True)),
    "a name in capitals": (False, _described(name="Pixelate")),
    "a kind of its own": (False, _described(kind="Sampler")),
    "no version": (False, _described(version="")),
    "no limits": (False, {key: each for key, each in _described().items() if key != "limits"}),
    "limits without seconds": (False, _described(limits={"pixels": 1})),
    "limits without pixels": (False, _described(limits={"seconds": 1})),
    "2^31 pixels": (True, _limits(pixels=2**31)),
    "more than 2^31 pixels": (False, _limits(pixels=2**31 + 1)),
    "an hour": (True, _limits(seconds=3600)),
    "more than an hour": (False, _limits(seconds=3601)),
    "no seconds": (False, _limits(seconds=0)),
    "no modules": (False, _described(modules=[])),
    "128 modules": (True, _described(modules=_named(128))),
    "129 modules": (False, _described(modules=_named(129))),
    "a module twice": (False, _described(modules=_named(1) * 2)),
    "a module that is none": (False, _described(modules=["pixelate"])),
    "a name with a slash": (False, _module(name="a/b")),
    "a name with a line's end": (False, _module(name="a\n")),
    "a name of 63": (True, _module(name="a" * 63)),
    "a name of 64": (False, _module(name="a" * 64)),
    "a label of 100": (True, _module(label="ß" * 100)),
    "a label of 101": (False, _module(label="x" * 101)),
    "no label": (False, _module(label="")),
    "a label on two lines": (False, _module(label="a\nb")),
    "a label with a space that does not break": (False, _module(label="a\u00a0b")),
    "a label with a bell": (False, _module(label="a\x07b")),
    "a label of half a pair": (False, _module(label="\ud800")),
    "available, with a reason": (False, _module(available=True, reason="Why not.")),
    "unavailable, without a reason": (False, _module(available=False)),
    "unavailable, with a reason of 1000": (True, _module(available=False, reason="x" * 1000)),
    "a reason of 1001": (False, _module(available=False, reason="x" * 1001)),
    "a reason on two lines": (False, _module(available=False, reason="a\nb")),
    "a factor of a preprocessor": (False, _module(factor=2)),
    "an upscaler": (True, _module(factor=16) | {"kind": "Upscaler"}),
    "an upscaler without a factor": (False, _module() | {"kind": "Upscaler"}),
    "a factor of 17": (False, _module(factor=17) | {"kind": "Upscaler"}),
    "a factor of 2.0": (False, _module(factor=2.0) | {"kind": "Upscaler"}),
    "a mask that is a text": (False, _module(mask="yes")),
    "a parameter": (True, _parameter()),
    "a parameter with a dot": (False, _parameter(name="a.b")),
    "a parameter with a digit first": (False, _parameter(name="1a")),
    "a type of its own": (False, _parameter(type="float")),
    "a unit of 20": (True, _parameter(unit="x" * 20)),
    "a unit of 21": (False, _parameter(unit="x" * 21)),
    "a unit on two lines": (False, _parameter(unit="a\nb")),
    "a default out of range": (False, _parameter(default=10)),
    "a step of none": (False, _parameter(step=0)),
    "half an integer": (False, _parameter(default=2.5)),
    "a whole number with a point": (True, _parameter(default=2.0)),
    "a text for a number": (False, _parameter(default="2")),
    "a truth for a number": (False, _parameter(default=True)),
    "a maximum of 2^53": (True, _parameter(maximum=2**53)),
    "a larger maximum": (False, _parameter(maximum=2**53 + 2)),
    "a maximum of 400 digits": (False, _parameter(maximum=10**400)),
    "an endless maximum": (False, json.dumps(_parameter(maximum=99)).replace("99", "1e999").encode()),
    "a maximum that is no number": (False, _parameter(maximum=float("nan"))),
    "JSON that ends too soon": (False, b'{"contract": 1'),
    "a list": (False, []),
}
for _key in ("aliases", "controlTypes", "matches"):
    _DESCRIPTIONS |= {
        f"32 {_key}": (True, _module(**{_key: ["a"] * 32})),
        f"33 {_key}": (False, _module(**{_key: ["a"] * 33})),
        f"an empty one of {_key}": (False, _module(**{_key: [""]})),
        f"a text for {_key}": (False, _module(**{_key: "tile"})),
        f"a number among {_key}": (False, _module(**{_key: [1]})),
    }
for _count, _fits in ((2, True), (3, False)):
    _given = [_parameter(name=f"p{each}")["modules"][0]["parameters"][0] for each in range(_count)]
    _resolution = _given[0] | {"name": "resolution"}
    _DESCRIPTIONS[f"{_count} parameters and a resolution"] = (
        _fits,
        _module(parameters=[_resolution, *_given]),
    )
    _DESCRIPTIONS[f"a parameter {_count} times"] = (False, _module(parameters=[_given[0]] * _count))


def _runtime_reads(body: bytes) -> bool:
    """Without a complaint, also of one module."""
    try:
        read = description.read(body, name="pixelate", kind=None)
    except BrokenContract:
        return False
    broken = [each for each in read.states() if "breaks the contract" in each.reason]
    return not broken and not read.message


def _conforms(body: bytes) -> bool:
    try:
        PluginDescription.read(body)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("judge", [_conforms, _runtime_reads])
@pytest.mark.parametrize("what", _DESCRIPTIONS)
def test_a_description_has_one_verdict(what: str, judge: Callable[[bytes], bool]) -> None:
    allowed, given = _DESCRIPTIONS[what]
    assert judge(given if isinstance(given, bytes) else json.dumps(given).encode()) is allowed


_MAP = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def _npy(array: Any = _MAP, version: tuple[int, int] = (1, 0)) -> bytes:
    out = io.BytesIO()
    npy_format.write_array(out, array, version=version, allow_pickle=True)
    return out.getvalue()


def _headed(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + _MAP.tobytes()


def _answer(
    image: bytes | None = None,
    result: bytes = b'{"seconds": 0}',
    *,
    comment: bytes = b"",
    compression: int = zipfile.ZIP_STORED,
    extra: bytes = b"",
    **others: bytes,
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as writing:
        entry = zipfile.ZipInfo("image.npy")
        entry.extra, entry.compress_type = extra, compression
        writing.writestr(entry, _npy() if image is None else image)
        writing.writestr("result.json", result)
        for name, content in others.items():
            writing.writestr(name, content)
        writing.comment = comment
    return out.getvalue()


def _nested(levels: int) -> bytes:
    return b'{"seconds": 0, "x": ' + b"[" * levels + b"]" * levels + b"}"


_HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 5, 3), "
_ANSWERS: dict[str, tuple[bool, bytes]] = {
    "NPY 1.0": (True, _answer()),
    "NPY 2.0": (True, _answer(_npy(version=(2, 0)))),
    "NPY 3.0": (False, _answer(_npy(version=(3, 0)))),
    "a header of 512 bytes": (True, _answer(_headed(f"{_HEADER:510}}}\n"))),
    "a header of 513 bytes": (False, _answer(_headed(f"{_HEADER:511}}}\n"))),
    "a header with another key": (False, _answer(_headed(f"{_HEADER}'x': 1}}\n"))),
    "a header that is no dictionary": (False, _answer(_headed("[1]\n"))),
    "a header written by another hand": (
        True,
        _answer(_headed('{"shape":(4 ,5,3,) ,"descr":"|u1","fortran_order" : False}\n')),
    ),
    "a header with a key twice": (False, _answer(_headed(f"{_HEADER}'descr': '|u1'}}\n"))),
    "a header without a key": (False, _answer(_headed("{'descr': '|u1', 'shape': (4, 5, 3)}\n"))),
    "a header whose values are of other types": (
        False,
        _answer(_headed("{'descr': (4, 5, 3), 'fortran_order': '|u1', 'shape': False}\n")),
    ),
    "a header with a shape to work out": (
        False,
        _answer(_headed("{'descr': '|u1', 'fortran_order': False, 'shape': (2 * 2, 5, 3)}\n")),
    ),
    "a header of nothing": (False, _answer(_headed(""))),
    "floats": (False, _answer(_npy(_MAP.astype(np.float32)))),
    "Fortran's order": (False, _answer(_npy(np.asfortranarray(_MAP)))),
    "a grey map": (False, _answer(_npy(_MAP[:, :, 0]))),
    "no pixels": (False, _answer(_npy(_MAP[:0]))),
    "a pickle": (False, _answer(_npy(np.array([{}])))),
    "too few pixels": (False, _answer(_npy()[:-1])),
    "too many pixels": (False, _answer(_npy() + b"x")),
    "a PNG": (False, _answer(b"\x89PNG\r\n\x1a\n")),
    "a comment": (False, _answer(comment=b"made with care")),
    "the 64-bit kind": (False, _answer()[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + _answer()[-22:]),
    "a compressed entry": (False, _answer(compression=zipfile.ZIP_DEFLATED)),
    "another entry": (False, _answer(**{"more.json": b"{}"})),
    "a small extra field": (True, _answer(extra=struct.pack("<HH", 0x7855, 4) + b"abcd")),
    "a large extra field": (False, _answer(extra=struct.pack("<HH", 0x7855, 5000) + bytes(5000))),
    "no archive": (False, b"rubbish" * 10),
    "an archive that is cut off": (False, _answer()[:-5]),
    "a result that tells more": (
        True,
        _answer(result=b'{"seconds": 0.5, "poses": [{"people": []}], "n": null}'),
    ),
    "a result without seconds": (False, _answer(result=b"{}")),
    "seconds below 0": (False, _answer(result=b'{"seconds": -1}')),
    "seconds that are a truth": (False, _answer(result=b'{"seconds": true}')),
    "a result that is a list": (False, _answer(result=b"[]")),
    "a result that is NaN": (False, _answer(result=b'{"seconds": 0, "x": NaN}')),
    "a number of 64 bits": (True, _answer(result=b'{"seconds": 0, "x": 1e308}')),
    "1e999": (False, _answer(result=b'{"seconds": 0, "x": 1e999}')),
    "1e999 in seconds": (False, _answer(result=b'{"seconds": 1e999}')),
    "a number of 400 digits": (False, _answer(result=b'{"seconds": 0, "x": 1' + b"0" * 400 + b"}")),
    "half a pair": (False, _answer(result=b'{"seconds": 0, "x": "\\ud800"}')),
    "16 levels": (True, _answer(result=_nested(15))),
    "17 levels": (False, _answer(result=_nested(16))),
    "levels without end": (False, _answer(result=_nested(100_000))),
    "a result of more than a MiB": (False, _answer(result=b'{"seconds": 0, "x": "%s"}' % (b"y" * (1 << 20)))),
}


def _runtime_takes(body: bytes) -> bool:
    try:
        archive.unpack(body, most_pixels=_MOST_PIXELS)
    except BrokenContract:
        return False
    return True


def _passes(body: bytes) -> bool:
    module = ModuleDescription(name="pixelate", label="Pixelate")
    try:
        read_answer(module, _MAP, Answer(200, "application/zip", body))
    except Broken:
        return False
    return True


@pytest.mark.parametrize("judge", [_passes, _runtime_takes])
@pytest.mark.parametrize("what", _ANSWERS)
def test_an_answer_has_one_verdict(what: str, judge: Callable[[bytes], bool]) -> None:
    allowed, body = _ANSWERS[what]
    assert judge(body) is allowed


_HEALTH: dict[str, tuple[bool, bytes]] = {
    "the docs' own": (True, b'{"status": "ok"}'),
    "another key": (True, b'{"status": "ok", "checks": []}'),
    "another status": (False, b'{"status": "failing", "last": "ok"}'),
    "no status": (False, b"{}"),
    "a status in capitals": (False, b'{"status": "OK"}'),
    "a list": (False, b'["status", "ok"]'),
    "a text": (False, b'"ok"'),
    "no JSON": (False, b'status "ok" "status"'),
    "nothing": (False, b""),
    "half of it": (False, b'{"status": "ok"'),
    "too deep": (False, b'{"status": "ok", "x": ' + b"[" * 100_000),
}


def _runtime_is_content(body: bytes) -> bool:
    try:
        health.demand(body)
    except BrokenContract:
        return False
    return True


def _is_healthy(body: bytes) -> bool:
    try:
        judge_health(Answer(200, "application/json", body))
    except Broken:
        return False
    return True


@pytest.mark.parametrize("judge", [_is_healthy, _runtime_is_content])
@pytest.mark.parametrize("what", _HEALTH)
def test_health_has_one_verdict(what: str, judge: Callable[[bytes], bool]) -> None:
    allowed, body = _HEALTH[what]
    assert judge(body) is allowed


def test_answers_of_health_and_errors_have_one_bound() -> None:
    assert MOST_HEALTH_BYTES == health.MOST_BYTES
    assert MOST_ERROR_BYTES == asking.MOST_ERROR_BYTES


#: Width and height of a picture, the resolution that a map of it is asked for (None: the module has none), a
#: factor, and width and height of what is made.
_SIZES: list[tuple[bool, tuple[int, int], float | None, int | None, tuple[int, int]]] = [
    (True, (90, 60), None, None, (90, 60)),
    (True, (90, 60), None, None, (11, 7)),
    (True, (90, 60), None, None, (1, 1)),
    (False, (90, 60), None, None, (91, 60)),
    (False, (90, 60), None, None, (90, 61)),
    (False, (90, 60), None, None, (60, 60)),
    (False, (90, 60), None, None, (40, 60)),
    (True, (1, 1), None, None, (1, 1)),
    (False, (1, 1), None, None, (2, 2)),
    (True, (16_384, 1), None, None, (2048, 1)),
    (True, (90, 60), 64, None, (96, 64)),
    (True, (60, 90), 64, None, (64, 97)),
    (True, (60, 90), 64.5, None, (64, 97)),
    (True, (60, 90), 64.5, None, (65, 97)),
    (False, (60, 90), 64.5, None, (66, 99)),
    (False, (60, 90), 64, None, (64, 98)),
    (False, (60, 90), 64, None, (96, 64)),
    (False, (90, 60), 64, None, (97, 65)),
    (False, (90, 60), 64, None, (90, 60)),
    (False, (8, 8), 64, None, (4096, 4096)),
    (True, (90, 60), None, 2, (180, 120)),
    (False, (90, 60), None, 2, (180, 121)),
    (False, (90, 60), None, 2, (90, 60)),
]


def _sized(resolution: float | None, factor: int | None) -> dict[str, Any]:
    parameter = {"name": "resolution", "label": "R", "type": "number", "default": 512, "minimum": 1}
    given = [parameter | {"maximum": 4096, "step": 1}] if resolution else []
    said = _module(parameters=given, factor=factor)
    return said | {"kind": "Upscaler" if factor else "Preprocessor"}


@pytest.mark.parametrize(("allowed", "given", "resolution", "factor", "made"), _SIZES)
def test_a_maps_size_has_one_verdict(
    allowed: bool,
    given: tuple[int, int],
    resolution: float | None,
    factor: int | None,
    made: tuple[int, int],
) -> None:
    body = json.dumps(_sized(resolution, factor)).encode()
    parameters = {"resolution": resolution} if resolution else {}
    (theirs,) = description.read(body, name="pixelate", kind=None).states()
    (ours,) = PluginDescription.read(body).modules
    verdicts = []
    for judge in (
        lambda: sizes.demand(theirs, parameters, given, made),
        lambda: judge_size(
            ours, (*given[::-1], 3), Made(np.empty((*made[::-1], 3), np.uint8), {}), parameters
        ),
    ):
        try:
            judge()
        except (Broken, BrokenContract):
            verdicts.append(False)
        else:
            verdicts.append(True)
    assert verdicts == [allowed] * 2
