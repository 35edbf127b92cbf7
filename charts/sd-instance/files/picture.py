"""What `helm test` runs: asks the service for a picture until it draws one, and looks whether it is one.

Needs nothing but Python, and knows nothing of Kubernetes. Settings come by the environment.
"""

import base64
import json
import os
import pathlib
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib

PNG = b"\x89PNG\r\n\x1a\n"
#: Samples of a pixel by PNG's colour type.
SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
#: What passes: the pod loads, drains, or has enough to do. A Service without a ready pod refuses connections.
PASSING = (429, 502, 503, 504)


def login():
    folder = os.environ.get("LOGIN")
    if not folder:
        return {}
    # The service, too, reads them without the end of the line that a file brings into a Secret.
    parts = [pathlib.Path(folder, key).read_bytes().rstrip(b"\r\n") for key in ("username", "password")]
    return {"Authorization": "Basic " + base64.b64encode(b":".join(parts)).decode()}


def ask(seconds):
    wish = {
        "prompt": os.environ["PROMPT"],
        "width": int(os.environ["WIDTH"]),
        "height": int(os.environ["HEIGHT"]),
        "steps": int(os.environ["STEPS"]),
        "seed": 1,
        "do_not_save_samples": True,
    }
    request = urllib.request.Request(
        os.environ["SERVICE"] + "/sdapi/v1/txt2img",
        data=json.dumps(wish).encode(),
        headers={"Content-Type": "application/json", **login()},
    )
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return base64.b64decode(json.load(answer)["images"][0])


def picture():
    """The picture, asked for again while what hinders it may pass."""
    until = time.monotonic() + int(os.environ["TIMEOUT_SECONDS"])
    said = ""
    while time.monotonic() < until:
        try:
            return ask(max(1.0, until - time.monotonic()))
        except urllib.error.HTTPError as error:
            why = f"HTTP {error.code}: {error.read(500).decode(errors='replace')}"
            if error.code not in PASSING:
                sys.exit(f"the service refuses the request: {why}")
        except OSError as error:
            why = f"{os.environ['SERVICE']}: {error}"
        if why != said:
            sys.stdout.write(f"no picture yet: {why}\n")
            said = why
        time.sleep(2)
    sys.exit(f"no picture within {os.environ['TIMEOUT_SECONDS']} s; the last answer: {said}")


def chunks(data):
    at = len(PNG)
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if at + 12 + size > len(data):
            return
        body = data[at + 8 : at + 8 + size]
        (checksum,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        if zlib.crc32(kind + body) != checksum:
            sys.exit(f"the picture is broken: the checksum of its part {kind!r} is wrong")
        yield kind, body
        at += 12 + size


def is_plain(body, samples):
    """Whether a row below the first shows one colour: its pixels are alike, or tell of no difference from the
    pixels beside and above them, as PNG's filters write it."""
    return not any(body[samples:]) or body == body[:samples] * (len(body) // samples)


def check(data):
    """That it is a whole PNG of the size that was asked for, and not of one colour."""
    if not data.startswith(PNG):
        sys.exit(f"what came is no PNG: it begins with {data[:8]!r}")
    parts = list(chunks(data))
    if not parts or parts[0][0] != b"IHDR" or parts[-1][0] != b"IEND":
        sys.exit("the picture is not whole")
    width, height, depth, colour = struct.unpack(">IIBB", parts[0][1][:10])
    wanted = (int(os.environ["WIDTH"]), int(os.environ["HEIGHT"]))
    if (width, height) != wanted or depth != 8 or colour not in SAMPLES:
        sys.exit(f"the picture is {width}x{height} with {depth} bits, not {wanted[0]}x{wanted[1]} with 8")
    rows = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    pitch = 1 + width * SAMPLES[colour]
    if len(rows) != height * pitch:
        sys.exit(f"the picture has {len(rows)} bytes of pixels, not {height * pitch}")
    bodies = [rows[at + 1 : at + pitch] for at in range(0, len(rows), pitch)]
    if all(is_plain(body, SAMPLES[colour]) for body in bodies[1:]):
        sys.exit("the picture is of one colour")
    return width, height


found = check(picture())
sys.stdout.write(f"a picture of {found[0]}x{found[1]}: the service works\n")
