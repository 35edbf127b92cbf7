"""ControlNet on photographs, through the API of the demo's instance in the cluster, onto one contact sheet.

    python -m demo.photographs docs/images/controlnet.jpg        # after `make demo`

The photographs are those that scikit-image ships. A row is the photograph, the map that a plugin makes of it,
and what the demo's checkpoint draws to the map. That checkpoint knows nothing but coloured shapes on plain
grounds: the last column shows whose edges are followed, not what is in the photograph. There is a network for
Canny edges only, so it is the outlines of the pose's drawing that are followed.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

from demo import run

#: Pixels: of a tile, between tiles, of a line of words; of the longer side of what is drawn.
TILE, GAP, WORDS, DRAWN = 208, 8, 16, 128
HEAD = ("photograph", "map", "drawn to it")


@dataclass(frozen=True, slots=True)
class Row:
    """A photograph by scikit-image's name, the part of it that is taken (left, top, right, bottom, as shares
    of its sides), the module and its resolution, and the words that say what to draw."""

    photograph: str
    module: str
    prompt: str
    part: tuple[float, float, float, float] = (0, 0, 1, 1)
    resolution: int = 512


ROWS = (
    Row("coffee", "canny", "a large red circle on a white background", (0.1, 0, 0.77, 1), 128),
    Row("chelsea", "canny", "a large yellow star on a black background", (0.17, 0, 0.83, 1), 128),
    Row("rocket", "canny", "a large blue triangle on a white background", (0.33, 0.1, 0.87, 0.9), 128),
    Row("astronaut", "openpose_full", "a large green circle on a black background"),
    Row("camera", "openpose_full", "a large purple square on a black background"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path)
    target: Path = parser.parse_args().target
    api = Api(run.service_address(), *run.credentials())
    drawn = [(row, tiles(api, row)) for row in ROWS]
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet(drawn).save(target, quality=88)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


class Api:
    """A1111's, of one address."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address
        self._token = base64.b64encode(f"{user}:{password}".encode()).decode()

    def images(self, path: str, body: dict[str, Any]) -> list[Image.Image]:
        """The pictures of the answer."""
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {self._token}"}
        request = urllib.request.Request(self._address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            return [decoded(each) for each in json.load(response)["images"]]


def tiles(api: Api, row: Row) -> list[Image.Image]:
    """The photograph, its map, and what is drawn to it."""
    photograph = taken(row)
    asked = {
        "controlnet_module": row.module,
        "controlnet_input_images": [encoded(photograph)],
        "controlnet_processor_res": row.resolution,
    }
    (found,) = api.images("/controlnet/detect", asked)
    # A pose's drawing has to be outlined first; a map of edges is one already.
    module = "none" if row.module == "canny" else "canny"
    unit = {
        "enabled": True,
        "module": module,
        "model": "demo-canny",
        "image": encoded(found),
        "pixel_perfect": True,
        "resize_mode": "Just Resize",
        "save_detected_map": False,
    }
    scale = DRAWN / max(photograph.size)
    width, height = (round(side * scale / 8) * 8 for side in photograph.size)
    body = {
        "prompt": row.prompt,
        "steps": 20,
        "cfg_scale": 3,
        "seed": 1,
        "sampler_name": "Euler a",
        "width": width,
        "height": height,
        "alwayson_scripts": {"controlnet": {"args": [unit]}},
    }
    (picture,) = api.images("/sdapi/v1/txt2img", body)
    return [photograph, found, picture]


def taken(row: Row) -> Image.Image:
    """The part of the photograph."""
    whole = Image.fromarray(np.asarray(getattr(skimage.data, row.photograph)())).convert("RGB")
    left, top, right, bottom = row.part
    width, height = whole.size
    return whole.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )


def sheet(rows: list[tuple[Row, list[Image.Image]]]) -> Image.Image:
    """One line of words above each row, and one above all."""
    height = WORDS + GAP + len(rows) * (TILE + WORDS + GAP)
    whole = Image.new("RGB", (len(HEAD) * (TILE + GAP) + GAP, height), "white")
    pen = ImageDraw.Draw(whole)
    for column, words in enumerate(HEAD):
        pen.text((GAP + column * (TILE + GAP), 4), words, fill="black")
    for number, (row, pictures) in enumerate(rows):
        top = WORDS + GAP + number * (TILE + WORDS + GAP)
        pen.text((GAP, top), f"{row.photograph}, {row.module}: {row.prompt}", fill="black")
        for column, picture in enumerate(pictures):
            scale = TILE / max(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            # What the demo draws is small: its pixels shall be seen as they are.
            kept = Image.Resampling.NEAREST if column else Image.Resampling.LANCZOS
            whole.paste(picture.resize(size, kept), (GAP + column * (TILE + GAP), top + WORDS))
    return whole


def encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


if __name__ == "__main__":
    main()
