"""Demands on what a plugin must refuse, in which words, and that it serves on after it."""

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from sd_plugin import archive
from sd_plugin.conformance import forms
from sd_plugin.conformance.demand import Broken, Demand, NotTried, must
from sd_plugin.conformance.probe import Answer, Probe, picture
from sd_plugin.contract import ModuleDescription, Parameter, PluginDescription
from sd_plugin.module import Pixels

_INVALID = {422: "Invalid"}
_INVALID_OR_LARGE = {422: "Invalid", 413: "TooLarge"}
#: Larger pictures are not made here only to be refused.
_MOST_PIXELS = 40_000_000
_NOBODY = "no-such-module"


def demands(description: PluginDescription) -> Iterator[Demand]:
    """Those of one available module for the archive's form, of every one for its parameters."""
    yield Demand(
        "an unknown module is 404 UnknownModule, naming those there are", partial(_unknown, description)
    )
    for module in description.modules:
        if not module.available:
            sentence = f"{module.name}: a run of an unavailable module is 503 Unavailable, with its reason"
            yield Demand(sentence, partial(_unavailable, module))
    served = next((each for each in description.modules if each.available), None)
    if served is None:
        return
    small = archive.npy(picture(64, 64))
    for what, body in _bad_bodies(small):
        yield Demand(f"{what} is 422 Invalid", partial(_refused, served, body, _INVALID, ""))
    for what, body in forms.misformed(picture(64, 64)):
        yield Demand(f"{what} is 422 Invalid", partial(_refused, served, body, _INVALID, ""))
    for what, body in _too_large():
        yield Demand(
            f"{what} is 413 TooLarge or 422 Invalid", partial(_refused, served, body, _INVALID_OR_LARGE, "")
        )
    yield Demand(
        "a picture of more than limits.pixels is 413 TooLarge", partial(_larger, description, served)
    )
    yield Demand("an Sd-Deadline that is no number is 422 Invalid", partial(_odd_deadline, served))
    for module in (each for each in description.modules if each.available):
        if module.mask:
            body = archive.pack({"image.npy": small, "mask.npy": archive.npy(np.zeros((32, 32), np.uint8))})
            sentence = f"{module.name}: a mask of another size than the picture is 422 Invalid"
            yield Demand(sentence, partial(_refused, module, body, _INVALID, ""))
        else:
            body = archive.pack({"image.npy": small, "mask.npy": archive.npy(np.zeros((64, 64), np.uint8))})
            sentence = f"{module.name}: a mask, of which it takes none, is 422 Invalid"
            yield Demand(sentence, partial(_refused, module, body, _INVALID, ""))
        for parameter in module.parameters:
            yield Demand(
                f"{module.name}: {parameter.name} out of range, or no number, is 422 Invalid, naming it",
                partial(_bad_values, module, parameter),
            )


def request(image: Pixels, parameters: Mapping[str, Any]) -> bytes:
    """A request's archive."""
    entries = {"image.npy": archive.npy(image), archive.PARAMETERS: json.dumps(parameters).encode()}
    return archive.pack(entries)


def judge_refusal(answer: Answer, allowed: Mapping[int, str], naming: str = "") -> None:
    """Raises `Broken` unless the answer is one of these, and its sentence names what it should."""
    told = " or ".join(f"{status} {word}" for status, word in allowed.items())
    must(answer.status in allowed, f"it answers {answer.status} in place of {told}")
    error = answer.error()
    must(
        error.error == allowed[answer.status], f"it answers {answer.status} {error.error} in place of {told}"
    )
    must(naming in error.detail, f"the sentence does not name {naming!r}: {error.detail}")
    must("Traceback" not in error.detail, "the sentence is a traceback")


def _serves_on(probe: Probe) -> None:
    after = probe.get("/healthz")
    must(after.status == 200, f"it refuses as it should, and then GET /healthz answers {after.status}")


def _unknown(description: PluginDescription, probe: Probe) -> None:
    answer = probe.post(_NOBODY, request(picture(64, 64), {}))
    judge_refusal(answer, {404: "UnknownModule"}, naming=description.modules[0].name)
    _serves_on(probe)


def _unavailable(module: ModuleDescription, probe: Probe) -> None:
    answer = probe.post(module.name, request(picture(64, 64), {}))
    judge_refusal(answer, {503: "Unavailable"}, naming=module.reason)
    _serves_on(probe)


def _refused(
    module: ModuleDescription, body: bytes, allowed: Mapping[int, str], naming: str, probe: Probe
) -> None:
    judge_refusal(probe.post(module.name, body), allowed, naming)
    _serves_on(probe)


def _bad_bodies(small: bytes) -> Iterator[tuple[str, bytes]]:
    pack = archive.pack
    yield "an empty body", b""
    yield "a body that is no archive", b"not an archive" * 100
    yield "an archive that is cut off", pack({"image.npy": small})[:-40]
    yield "an archive with a damaged entry", _damaged(pack({"image.npy": small}))
    yield "an archive without a picture", pack({archive.PARAMETERS: b"{}"})
    yield "an archive with an unknown entry", pack({"image.npy": small, "extra.bin": b"1"})
    yield "a picture that is no NPY", pack({"image.npy": b"no picture"})
    yield "a picture that is no PNG", pack({"image.png": b"no picture"})
    yield "a picture of pickled objects", pack({"image.npy": _pickled()})
    yield "a picture of floats", pack({"image.npy": archive.npy(np.zeros((64, 64, 3), np.float32))})
    yield "a picture without colours", pack({"image.npy": archive.npy(np.zeros((64, 64), np.uint8))})
    yield "a picture of four channels", pack({"image.npy": archive.npy(np.zeros((64, 64, 4), np.uint8))})
    yield "a picture without pixels", pack({"image.npy": archive.npy(np.zeros((0, 64, 3), np.uint8))})
    yield "a picture shorter than its shape", pack({"image.npy": small[:-100]})
    yield "an unknown parameter", pack({"image.npy": small, archive.PARAMETERS: b'{"no_such_parameter": 1}'})
    yield "a parameters.json that is no JSON", pack({"image.npy": small, archive.PARAMETERS: b"{"})
    yield "a parameters.json that is no object", pack({"image.npy": small, archive.PARAMETERS: b"[1]"})


def _damaged(body: bytes) -> bytes:
    """With other bytes in the midst of the picture: the archive's checksum does not hold."""
    middle = len(body) // 2
    return body[:middle] + bytes(255 - each for each in body[middle : middle + 16]) + body[middle + 16 :]


def _pickled() -> bytes:
    out = io.BytesIO()
    np.save(out, np.full((64, 64, 3), None, object), allow_pickle=True)
    return out.getvalue()


def _too_large() -> Iterator[tuple[str, bytes]]:
    out = io.BytesIO()
    side = 1_000_000
    npy_format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (side, side, 3)})
    yield "a picture that declares 1000000x1000000 pixels", archive.pack({"image.npy": out.getvalue()})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as writing:
        writing.writestr("image.npy", b"short")
    body = out.getvalue()
    # The central directory's own word on the size, 24 bytes into its entry.
    at = body.rindex(b"PK\x01\x02") + 20
    declared = (0xF0000000).to_bytes(4, "little")
    yield "an entry that declares 4 GB", body[:at] + declared * 2 + body[at + 8 :]


def _larger(description: PluginDescription, module: ModuleDescription, probe: Probe) -> None:
    most = description.limits.pixels
    if most > _MOST_PIXELS:
        raise NotTried(f"it takes {most} pixels")
    side = math.isqrt(most) + 1
    body = request(np.zeros((side, side, 3), np.uint8), {})
    judge_refusal(probe.post(module.name, body), {413: "TooLarge"})
    _serves_on(probe)


def _odd_deadline(module: ModuleDescription, probe: Probe) -> None:
    answer = probe.post(module.name, request(picture(64, 64), {}), deadline="soon")
    judge_refusal(answer, _INVALID, naming="Sd-Deadline")
    _serves_on(probe)


def _bad_values(module: ModuleDescription, parameter: Parameter, probe: Probe) -> None:
    values: list[Any] = [parameter.minimum - 1, parameter.maximum + 1, "text", None, True]
    if parameter.type == "integer" and parameter.minimum < parameter.maximum:
        values.append(parameter.minimum + 0.5)
    for value in values:
        answer = probe.post(module.name, request(picture(64, 64), {parameter.name: value}))
        try:
            judge_refusal(answer, _INVALID, naming=parameter.name)
        except Broken as why:
            raise type(why)(f"{value!r}: {why}") from None
    _serves_on(probe)
