"""The pod that the page's tests look at: a file of each type, styles, and what tells of a LoRA beside it."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import volumes
from cluster import Kube, Manifest
from conftest import ROOT
from safetensors.torch import save
from shapes import bundle, call, instance, secret

FILES = {
    "crescent": ("Checkpoint", "demo-crescent", "demo-crescent.safetensors"),
    "gilded": ("LoRA", "demo-gilded", "demo-gilded.safetensors"),
    "midnight": ("LoRA", "demo-midnight", "demo-midnight.safetensors"),
    "goldie": ("TextualInversion", "demo-goldie", "demo-goldie.pt"),
    "blackout": ("Hypernetwork", "demo-blackout", "demo-blackout.pt"),
    "vae": ("VAE", "demo-vae", "demo-vae.safetensors"),
    "canny": ("ControlNet", "demo-canny", "demo-canny.safetensors"),
    "upscaler": ("Upscaler", "upscalers", "realesr-animevideov3-x4.safetensors"),
}
STYLES = 'name,prompt,negative_prompt\nOn white,"{prompt}, white background",\nBlue star,a large blue star,\n'


#: As A1111 keeps what its users say of a LoRA.
TOLD = {"activation text": "gilded figures", "description": "Figures of gold", "preferred weight": 0.8}
#: A LoRA's file by what tells its family: this wide are the texts that SDXL's UNet is given.
OF_SDXL = "models/Lora/of-sdxl.safetensors"
_LAYER = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"


def lora_of_sdxl() -> bytes:
    weights = {"lora_down.weight": (4, 2048), "lora_up.weight": (640, 4)}
    tensors = {f"{_LAYER}.{name}": torch.zeros(shape) for name, shape in weights.items()}
    return save(tensors | {f"{_LAYER}.alpha": torch.tensor(4.0)})


#: By path, what no source gives: styles, a LoRA for another family, trigger words and a picture of a LoRA.
BESIDE = {
    "styles.csv": STYLES.encode(),
    OF_SDXL: lora_of_sdxl(),
    "models/Lora/demo-gilded.json": json.dumps(TOLD).encode(),
    "models/Lora/demo-gilded.png": (ROOT / "demo/models/demo-gilded/sheet.png").read_bytes(),
}


@dataclass(frozen=True)
class Place:
    """Where the page is, and the namespace that it is in."""

    url: str
    kube: Kube | None = None

    @property
    def cluster(self) -> Kube:
        if self.kube is None:
            pytest.skip("needs the cluster, not the server of E2E_PAGE")
        return self.kube

    def call(self, path: str, body: Manifest | None = None) -> Any:
        """What the API beside the page says."""
        return call(self.url, path, body)


def hub_file(repo: str, path: str) -> Manifest:
    return {"huggingFace": {"repo": f"sd-operator/{repo}", "revision": "main", "path": path}}


def everything() -> Manifest:
    """A bundle with a file of each type."""
    whole = bundle()
    whole["spec"]["formatPolicy"] = "ScanPickle"
    whole["spec"]["files"] += [
        {"name": name, "type": type_, "source": hub_file(repo, path)}
        for name, (type_, repo, path) in FILES.items()
    ]
    return whole


def serve(kube: Kube) -> None:
    """The bundle and an instance, Ready, with what lies beside its files."""
    catalog = [{"name": "controlnet-basic", "scope": "Catalog"}]
    kube.apply(everything(), secret(), instance(plugins=catalog))
    kube.wait_condition("modelbundle", "shapes", "Ready")
    kube.wait_condition("sdinstance", "shapes", "Ready", seconds=300)
    for path, content in BESIDE.items():
        volumes.put(kube, "shapes-models", path, content)
