"""The caller's side of the socket: asks, reads no more of an answer than there may be, judges its form."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from pydantic import ValidationError

from sd_plugin import archive
from sd_plugin.conformance.demand import Broken, must
from sd_plugin.contract import MOST_PIXELS, ErrorAnswer, ModuleDescription, PluginDescription
from sd_plugin.errors import PluginError
from sd_plugin.module import Grey, Pixels

#: For what is not a run.
_SECONDS = 10.0
_MOST_DESCRIPTION_BYTES = 1 << 20
#: Of what is answered where the plugin is asked whether it serves, and of an error.
MOST_HEALTH_BYTES, MOST_ERROR_BYTES = 1024, 64 * 1024
#: The longest run that is waited for here, whatever a plugin takes.
_LONGEST_RUN = 120.0


class NoAnswer(Broken):
    """No answer came in time, or the connection ended before it did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, type and body of an answer."""

    status: int
    type: str
    body: bytes

    def error(self) -> ErrorAnswer:
        """Its error; raises `Broken` where it does not have the contract's form."""
        try:
            return ErrorAnswer.model_validate_json(self.body, strict=True)
        except ValidationError:
            told = self.body[:100]
            raise Broken(f"{self.status} without an error {{error, detail}}: {told!r}") from None


@dataclass(frozen=True, slots=True)
class Made:
    """What a run made."""

    image: Pixels
    info: dict[str, Any]


class Probe:
    """A caller of one plugin. `description` is known once it was asked for and found valid."""

    def __init__(self, socket: Path, patience: float) -> None:
        self.socket = socket
        # No timeout of httpx's, which counts each read for itself; see `_ask`.
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://plugin")
        self.patience = patience
        self.description: PluginDescription | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def limits_seconds(self) -> float:
        """How long a run is waited for here."""
        return min(self.description.limits.seconds, _LONGEST_RUN) if self.description else _LONGEST_RUN

    def get(self, path: str) -> Answer:
        """The answer to a GET; raises `NoAnswer`, and `Broken` where it has more bytes than there may be."""
        most = MOST_HEALTH_BYTES if path == "/healthz" else _MOST_DESCRIPTION_BYTES
        return self._ask("GET", path, seconds=_SECONDS, most=most)

    def post(
        self,
        module: str,
        body: bytes | Iterable[bytes],
        *,
        deadline: str | None = None,
        told: bool = True,
        most: int = 1 << 20,
    ) -> Answer:
        """The answer to a run; a body in pieces is sent without its length. Not `told`: without a deadline.
        Raises `NoAnswer`, and `Broken` where it has more than `most` bytes."""
        headers = {"Content-Type": archive.CONTENT_TYPE}
        if told:
            headers["Sd-Deadline"] = f"{self.limits_seconds:g}" if deadline is None else deadline
        seconds = self.limits_seconds + self.patience
        return self._ask("POST", f"/v1/run/{module}", seconds=seconds, most=most, body=body, headers=headers)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        seconds: float,
        most: int,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        until = time.monotonic() + seconds
        try:
            with self._client.stream(
                method, path, content=body, headers=headers, timeout=httpx.Timeout(seconds)
            ) as response:
                read = bytearray()
                if response.status_code != 200:
                    most = MOST_ERROR_BYTES
                for chunk in response.iter_raw():
                    read += chunk
                    if len(read) > most:
                        raise Broken(f"the answer has more than {most} bytes, the most that there can be")
                    if time.monotonic() > until:
                        raise NoAnswer(f"the answer did not end within {seconds:g} s")
                return Answer(response.status_code, response.headers.get("content-type", ""), bytes(read))
        except httpx.TimeoutException:
            raise NoAnswer(f"no answer within {seconds:g} s") from None
        except httpx.HTTPError as error:
            raise NoAnswer(f"no answer: {type(error).__name__}: {error}") from None

    def run(
        self,
        module: ModuleDescription,
        image: Pixels,
        *,
        mask: Grey | None = None,
        parameters: Mapping[str, float] | None = None,
        as_png: bool = False,
    ) -> Made:
        """What the module makes of a picture; raises `Broken` where the answer is not 200 or not as it must
        be, the size of its picture apart."""
        entries = {"image.png": archive.png(image)} if as_png else {"image.npy": archive.npy(image)}
        if mask is not None:
            entries["mask.npy"] = archive.npy(mask)
        if parameters is not None:
            entries[archive.PARAMETERS] = json.dumps(parameters).encode()
        most = 3 * _most_pixels(module, image) + archive.MOST_JSON_BYTES + archive.MOST_FRAME_BYTES
        answer = self.post(module.name, archive.pack(entries), most=most)
        if answer.status != 200:
            error = answer.error()
            raise Broken(f"{answer.status} {error.error}: {error.detail}")
        return read(module, image, answer)


def _most_pixels(module: ModuleDescription, image: Pixels) -> int:
    pixels = image.shape[0] * image.shape[1]
    return int(max(pixels * module.factor**2 if module.factor else MOST_PIXELS, pixels))


def read(module: ModuleDescription, image: Pixels, answer: Answer) -> Made:
    """What an answer of 200 to a run with this picture holds; raises `Broken`."""
    pixels = _most_pixels(module, image)
    must(answer.type.split(";")[0] == archive.CONTENT_TYPE, f"the answer's Content-Type is {answer.type!r}")
    most = {"image.npy": 3 * pixels + archive.MOST_NPY_FRAME_BYTES, archive.RESULT: archive.MOST_JSON_BYTES}
    try:
        entries = archive.unpack(answer.body, most)
        for name in most:
            must(name in entries, f"the answer's archive has no {name}")
        image = archive.read_npy("image.npy", entries["image.npy"], colours=True, pixels=pixels)
        info = archive.read_result(entries[archive.RESULT])
    except PluginError as error:
        raise Broken(f"the answer's {error}") from None
    return Made(image, info)


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """A picture with shapes and noise, so that no module finds it empty."""
    down, across = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(0, 64, (height, width, 3))
    shapes = np.stack([down * 3, across * 3, ((down // 8 + across // 8) % 2) * 160], axis=2) % 192
    return (shapes + noise).astype(np.uint8)
