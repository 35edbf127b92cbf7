"""Samples many prompts onto one picture and lets the judge count how many show what they should.

python -m model.contact_sheet --out sheet.png --prompts 64
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model import judge, networks, sampling, shapes, training
from model.train_unet import Model, load_vae

COLUMNS = 8


def sheet(pixels: torch.Tensor) -> Image.Image:
    """Arranges uint8 pictures (count, 3, side, side) in rows of eight."""
    pictures = [Image.fromarray(np.asarray(picture.permute(1, 2, 0))) for picture in pixels]
    rows = -(-len(pictures) // COLUMNS)
    result = Image.new("RGB", (COLUMNS * shapes.SIDE, rows * shapes.SIDE))
    for index, picture in enumerate(pictures):
        result.paste(picture, (index % COLUMNS * shapes.SIDE, index // COLUMNS * shapes.SIDE))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = Model().eval()
    training.load_weights("unet", model)
    subjects = random.Random(arguments.seed).sample(shapes.SUBJECTS, arguments.prompts)
    prompts = [subject.caption(shapes.TEMPLATES[0]) for subject in subjects]
    latents = sampling.sample_latents(
        model.unet,
        model.text_encoder,
        networks.load_tokenizer(),
        prompts,
        seed=arguments.seed,
        cfg=arguments.cfg,
    )
    pixels = sampling.decode(load_vae(), latents)
    sheet(pixels).save(arguments.out)
    for row in range(0, len(prompts), COLUMNS):
        print(" | ".join(prompts[row : row + COLUMNS]))
    if (training.cache_folder() / "judge.pt").exists():
        print(judge.agreement(subjects, judge.load().read(pixels)))


if __name__ == "__main__":
    main()
