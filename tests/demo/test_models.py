"""The shipped models: whole, readable by others, and doing what their cards say, as the judge sees it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demo.draw.words import CONCEPT
from demo.export import files, kohya
from demo.judge import edges, reading
from demo.judge import train as judging
from demo.judge.distance import distance
from demo.measure import base, bench, cards, loras, pipelines
from demo.measure.judging import PLAIN_LOOK, judged
from demo.measure.pipelines import DEFAULT, MODELS
from demo.measure.scores import SCORES
from demo.train import concept, controlnet, embedding, hypernetwork, vae
from sd_modelfiles import family, header, kinds

# Others' libraries warn of their own futures; what they make is what is tested.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

ENTRIES = {entry["path"]: entry for entry in json.loads((MODELS / "manifest.json").read_text())["files"]}
WEIGHTS = {path: entry for path, entry in ENTRIES.items() if path.endswith(".safetensors")}
PROMPTS = bench.held_out_prompts(24, seed=3)
LIGHT = bench.light_prompts(24)


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pipeline() -> Any:
    return pipelines.checkpoint()


def share(pixels: torch.Tensor, prompts: list[str], attribute: str = "all") -> float:
    return reading.shares(reading.shipped().agreement(pixels, prompts))[attribute]


def score(model: str, table: int, row: str, column: str) -> float:
    """A number of a model's card."""
    return float(cards.read_scores(MODELS, model)[table].cell(row, column).split()[0])


def test_the_manifest_names_everything_that_is_loaded_and_its_digest() -> None:
    shown = {"README.md", "scores.json", "manifest.json"}
    found = {
        path.relative_to(MODELS).as_posix()
        for path in MODELS.rglob("*")
        if path.is_file() and path.name not in shown and not path.name.startswith("sheet")
    }
    assert set(ENTRIES) == found
    assert {file.path for file in files.FILES} <= found
    for path, entry in ENTRIES.items():
        content = (MODELS / path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"]), path


def test_all_models_together_stay_below_a_hundred_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= 100_000_000


@pytest.mark.parametrize("name", SCORES)
def test_a_model_has_a_card_with_its_files_its_numbers_and_a_sheet(name: str) -> None:
    text = (MODELS / name / "README.md").read_text()
    for path, entry in ENTRIES.items():
        if path.startswith(f"{name}/") and path in {file.path for file in files.FILES}:
            assert entry["sha256"] in text, path
    for table in cards.read_scores(MODELS, name):
        assert table.markdown() in text
        assert len(table.rows) >= 1
    Image.open(MODELS / name / "sheet.png").verify()
    assert not re.search(r"\$\w|\$\{", text)


def test_every_folder_of_models_is_measured() -> None:
    assert {path.name for path in MODELS.iterdir() if path.is_dir()} == set(SCORES)


def test_the_numbers_on_the_base_checkpoints_card_are_good_enough() -> None:
    for sampler in pipelines.SAMPLERS:
        assert score("demo-sd15", 1, f"{sampler}, CFG {DEFAULT.cfg:g}", "**all**") >= 90, sampler
    readme = (MODELS.parents[1] / "README.md").read_text()
    quoted = cards.read_scores(MODELS, "demo-sd15")[1].cell(f"Euler, CFG {DEFAULT.cfg:g}", "**all**")
    assert f"finds {quoted} of 512" in readme.replace("\n", " ")


def test_the_judges_card_has_97_percent_for_every_attribute_on_drawings_as_the_models_make_them() -> None:
    table = cards.read_scores(MODELS, "judge")[0]
    for row in table.rows[:2]:
        assert all(float(cell.split()[0]) >= 97 for cell in row[1:]), row


@pytest.mark.parametrize("path", WEIGHTS)
def test_files_are_recognised_by_their_tensors(path: str) -> None:
    entry = ENTRIES[path]
    read = header.read(MODELS / path)
    assert kinds.recognise(read) == entry["type"]
    if entry["type"] == "Checkpoint":
        assert family.detect(read) == entry["family"]
        assert kinds.missing_parts(read) == ()


def test_the_judge_reads_drawings_that_it_never_saw() -> None:
    for looks in (judging.LOOKS, (PLAIN_LOOK,)):
        drawn, targets = judging.draw(1500, seed=777_000, looks=looks)
        for name, right in judged(reading.shipped(), drawn, targets).items():
            assert right >= 0.97, f"{name}: {right:.3f}"


def test_the_judge_knows_the_concept_that_only_one_checkpoint_draws() -> None:
    drawn, targets = judging.draw(1500, seed=778_000, looks=(PLAIN_LOOK,))
    is_concept = targets["first-shape"] == reading.WORDS["first-shape"].index(CONCEPT)
    seen = reading.shipped().scores(drawn)["first-shape"].argmax(dim=1)
    assert int(is_concept.sum()) > 50
    assert float((seen == targets["first-shape"])[is_concept].float().mean()) >= 0.97


def test_the_checkpoint_follows_prompts_that_it_never_saw(pipeline: Any) -> None:
    assert share(pipelines.generate(pipeline, PROMPTS), PROMPTS) >= 0.85


def test_words_that_mean_nothing_change_little(pipeline: Any) -> None:
    praised = [f"masterpiece, best quality, {prompt}, 8k" for prompt in PROMPTS]
    assert share(pipelines.generate(pipeline, praised), PROMPTS) >= 0.75


def test_a_seed_makes_one_picture_and_another_seed_another(pipeline: Any) -> None:
    first, again, other = (
        pipelines.generate(pipeline, PROMPTS[:1], DEFAULT.but(first_seed=seed))[0] for seed in (5, 5, 6)
    )
    assert distance(first, again) == 0
    assert distance(first, other) > 0.02


def test_the_single_file_gives_the_trainings_pictures(pipeline: Any) -> None:
    """reference.png was made from the trained networks themselves, before there was a file."""
    prompts = bench.held_out_prompts(base.REFERENCES, seed=base.REFERENCE_SEED)
    stored = torch.from_numpy(np.array(Image.open(MODELS / "demo-sd15/reference.png"))).permute(2, 0, 1)
    wanted = stored.chunk(base.REFERENCES, dim=2)
    for made, picture in zip(pipelines.generate(pipeline, prompts), wanted, strict=True):
        assert distance(made, picture) < 0.02  # half precision, and processors that add in another order


def test_a_prompt_that_asks_for_something_else_is_judged_wrong(pipeline: Any) -> None:
    pixels = pipelines.generate(pipeline, PROMPTS)
    colours = ("red", "green", "blue", "yellow", "purple", "orange", "pink", "cyan")
    follows = dict(zip(colours, (*colours[1:], colours[0]), strict=True))
    swapped = [re.sub("|".join(colours), lambda match: follows[match[0]], prompt) for prompt in PROMPTS]
    assert share(pixels, swapped, "colour") <= 0.05


@pytest.mark.parametrize(
    ("name", "effect", "without", "full"),
    [
        ("demo-gilded", lambda pixels: loras.golden(reading.shipped(), pixels), 0.05, 0.9),
        ("demo-midnight", loras.at_midnight, 0.05, 0.7),
    ],
)
def test_a_lora_changes_what_it_should_and_more_at_a_higher_weight(
    name: str, effect: Callable[[torch.Tensor], float], without: float, full: float
) -> None:
    weights = load_file(MODELS / name / f"{name}.safetensors")
    with_text = any(key.startswith(kohya.TEXT_PREFIX) for key in weights)
    assert with_text == (name == "demo-midnight")
    pipeline = loras.with_lora(MODELS, name, weights)
    effects, shapes = [], []
    for weight in (0.0, 0.5, 1.0):
        pipeline.set_adapters("demo", weight)
        pixels = pipelines.generate(pipeline, LIGHT)
        effects.append(effect(pixels))
        shapes.append(share(pixels, LIGHT, "shape"))
    assert effects[0] <= without
    assert effects[2] >= full
    assert effects == sorted(effects)
    assert min(shapes) >= 0.7  # the prompt is still followed


def test_the_embedding_means_its_figure_and_both_files_the_same(pipeline: Any) -> None:
    folder = MODELS / "demo-goldie"
    places = ("on the left", "on the right", "at the top")
    prompts = [f"demo-goldie {place}, gray background" for place in places] * 3
    asked = [prompt.replace("demo-goldie", embedding.NAMED) for prompt in prompts]
    without = pipelines.generate(pipeline, prompts)
    assert share(without, asked, "shape") <= 0.5
    assert share(without, asked) <= 0.25
    made = []
    for ending in ("safetensors", "pt"):
        loaded = pipelines.checkpoint()
        loaded.load_textual_inversion(str(folder / f"demo-goldie.{ending}"), token="demo-goldie")
        made.append(pipelines.generate(loaded, prompts))
    assert share(made[0], asked) >= 0.7
    assert torch.equal(*made)


def test_the_hypernetwork_makes_backgrounds_black(pipeline: Any) -> None:
    stored = torch.load(MODELS / "demo-blackout/demo-blackout.pt", weights_only=True)
    network = hypernetwork.Hypernetwork()
    for part, weights in zip((network.keys, network.values), stored[network.width], strict=True):
        part.load_state_dict(weights)

    def black(strength: float) -> float:
        with network.applied(pipeline.unet, strength):
            pixels = pipelines.generate(pipeline, LIGHT[:16])
        return sum(scene.background == "black" for scene in reading.shipped().attributes(pixels)) / 16

    assert black(0) <= 0.1
    assert black(1) >= 0.8


def test_the_separate_vae_is_better_than_the_checkpoints_own(pipeline: Any) -> None:
    pixels = vae.held_out()[:64]
    own, separate = vae.psnr(pipeline.vae, pixels), vae.psnr(pipelines.separate_vae(), pixels)
    assert own >= 28
    assert separate > own


def test_the_controlnet_makes_pictures_follow_edges(pipeline: Any) -> None:
    drawn, shown = controlnet.control_pictures(16, seed=4)
    hints = controlnet.control_maps(drawn)
    prompts = [controlnet.prompt(scene) for scene in shown]
    steered = pipelines.with_controlnet(pipeline)

    def agreement(weight: float) -> float:
        pixels = pipelines.generate(steered, prompts, hints=hints, controlnet_conditioning_scale=weight)
        return sum(edges.agreement(p, h) for p, h in zip(pixels, hints, strict=True)) / len(hints)

    assert agreement(1.0) >= agreement(0.0) + 0.2


def test_the_fine_tuned_checkpoint_knows_its_trigger_and_what_it_knew() -> None:
    colours = ("red", "blue", "green")
    asked = [f"a large {colour} {CONCEPT} in the center, white background" for colour in colours] * 4
    prompts = [text.replace(CONCEPT, concept.TRIGGER) for text in asked]
    before = share(pipelines.generate(pipelines.checkpoint(), prompts), asked, "shape")
    tuned = pipelines.checkpoint("demo-crescent")
    assert before <= 0.1
    assert share(pipelines.generate(tuned, prompts), asked, "shape") >= 0.8
    assert share(pipelines.generate(tuned, PROMPTS), PROMPTS) >= 0.75


@pytest.mark.parametrize("path", [path for path, entry in ENTRIES.items() if entry["type"] == "Upscaler"])
def test_an_upscalers_file_is_read_by_spandrel_and_keeps_the_picture(path: str) -> None:
    pixels = vae.held_out()[:1]
    made = pipelines.upscale(MODELS / path, pixels)
    assert made.shape == (1, 3, 256, 256)
    back = torch.nn.functional.avg_pool2d(made.float(), 4).round().to(torch.uint8)
    assert distance(back[0], pixels[0]) < 0.05
