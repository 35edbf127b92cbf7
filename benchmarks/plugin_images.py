"""How large the plugins' images are, as buildah has them, and how much of that a node has already."""

import json
import shutil
import subprocess

PREFIX = "localhost/sd-operator"
#: What each stands on, which a node stores once.
BASES = {
    "plugin-basic": "debian:12",
    "plugin-openpose": "plugin-basic:dev",
    "plugin-aux": "torch:dev",
    "plugin-upscale": "torch:dev",
}
MEGABYTE = 1_000_000


def lines() -> list[str]:
    """A table in Markdown; nothing where there is no buildah, or none of the images."""
    if shutil.which("buildah") is None:
        return []
    found = {name: _layers(f"{name}:dev") for name in BASES}
    rows = [
        f"| {name} | {_size(layers)} | {base} | {_size(layers, without=_layers(base))} |"
        for (name, base), layers in zip(BASES.items(), found.values(), strict=True)
        if layers
    ]
    if not rows:
        return []
    head = ["", "## Images (uncompressed)", "", "| image | in all | shares layers with | of its own |"]
    return [*head, "| --- | --- | --- | --- |", *rows]


def _layers(image: str) -> dict[str, int]:
    """Bytes of each layer, by digest; empty where the image is not there."""
    done = subprocess.run(
        ["buildah", "inspect", "--type", "image", f"{PREFIX}/{image}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {}
    manifest = json.loads(json.loads(done.stdout)["Manifest"])
    return {layer["digest"]: int(layer["size"]) for layer in manifest["layers"]}


def _size(layers: dict[str, int], without: dict[str, int] | None = None) -> str:
    size = sum(bytes_ for digest, bytes_ in layers.items() if digest not in (without or {}))
    return f"{size / MEGABYTE:,.0f} MB"
