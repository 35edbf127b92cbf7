"""What there is to choose from is what the interface says, with its facts and its reasons."""

from typing import Any

import page_answers as answers
import pytest

from sd_page import catalogue
from sd_page.api import Refused
from sd_page.catalogue import Catalogue, Model, Option


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (Option("a", "canny"), "canny"),
        (Option("a", "canny", "SD15 · 4 MiB"), "canny · SD15 · 4 MiB"),
        (Option("a", "canny", reason="it is down"), "⊘ canny: it is down"),
        (Option("a", "canny", "SDXL", "for SDXL"), "⊘ canny · SDXL: for SDXL"),
    ],
)
def test_an_option_shows_its_facts_and_its_reason(option: Option, shown: str) -> None:
    assert option.choice == (shown, "a")


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        (Model(type="LoRA", name="a", file="a"), ""),
        (Model(type="LoRA", name="a", file="a", family="SD15", bytes=2048), "SD15 · 2 KiB"),
        (Model(type="LoRA", name="a", file="a", bytes=1, sha256="0123456789abcdef"), "1 B · 0123456789"),
    ],
)
def test_facts_are_those_that_are_known(model: Model, facts: str) -> None:
    assert model.facts == facts


def test_models_that_can_be_used_come_first() -> None:
    assert [each.name for each in answers.known().of_type("LoRA")] == ["Midnight", "xl-style"]


def test_a_preview_is_found_behind_any_path_prefix() -> None:
    (midnight, _) = answers.known().of_type("LoRA")
    assert midnight.preview == "v1/models/preview?type=LoRA&name=Midnight"


@pytest.mark.parametrize(
    ("module", "fields"),
    [
        ("canny", ["processor_res", "threshold_a", "threshold_b"]),
        ("tile_resample", ["threshold_a"]),
        ("shuffle", ["processor_res"]),
        ("none", []),
        ("unknown", []),
    ],
)
def test_sliders_set_the_fields_that_the_module_reads(module: str, fields: list[str]) -> None:
    assert [each.field for each in answers.known().module(module).sliders] == fields


def test_a_slider_has_the_modules_own_label_and_bounds() -> None:
    (slider,) = answers.known().module("tile_resample").sliders
    told = (slider.label, slider.value, slider.minimum, slider.maximum, slider.step)
    assert told == ("Down Sampling Rate", 1.0, 1.0, 8.0, 0.01)


def test_modules_are_sent_by_name_and_shown_by_label() -> None:
    (_, inpaint) = answers.known().module_options("Inpaint")
    assert inpaint.choice == ("inpaint_global_harmonious", "inpaint")


def test_modules_of_one_label_are_shown_by_their_names() -> None:
    labels = answers.modules(by_label=True)
    labels["module_list"].pop()
    read = catalogue.read_modules(answers.modules(), labels, answers.plugins())
    assert [each.label for each in read] == answers.modules()["module_list"]


@pytest.mark.parametrize(
    ("ready", "module", "reason"),
    [
        (True, "canny", ""),
        (True, "shuffle", "its weights are not there"),
        (False, "canny", "it does not answer"),
        (False, "inpaint", ""),
    ],
)
def test_a_module_that_cannot_be_used_says_why(ready: bool, module: str, reason: str) -> None:
    read = catalogue.read_modules(answers.modules(), answers.modules(by_label=True), answers.plugins(ready))
    assert Catalogue(modules=read).module(module).reason == reason


def test_a_type_that_nothing_belongs_to_is_barred() -> None:
    barred = [each.value for each in answers.known().type_options("nothing") if each.reason == "nothing"]
    assert barred == ["Depth"]


@pytest.mark.parametrize(
    ("type_", "module", "network"),
    [
        ("All", "none", "None"),
        ("Tile", "tile_resample", "None"),
        ("Inpaint", "inpaint", "None"),
        # The server serves SDXL, this page has chosen SD15.
        ("Canny", "canny", answers.CANNY),
        ("gone", "none", "None"),
    ],
)
def test_a_type_stands_for_what_goes_with_the_checkpoint(type_: str, module: str, network: str) -> None:
    assert answers.known().defaults(type_) == (module, network)


def test_a_controlnet_for_another_family_says_so() -> None:
    (_, canny, other) = answers.known().network_options("Canny")
    assert canny.reason == ""
    assert other.shown == f"⊘ {answers.XL} · SDXL · 2 KiB: It is for SDXL; the checkpoint is for SD15."


def test_files_that_the_interface_does_not_list_are_among_all_with_their_reason() -> None:
    options = answers.known().network_options("All")
    assert [each.value for each in options] == ["None", answers.CANNY, answers.XL, answers.TRUNCATED]
    assert options[-1].reason == "The file is cut off."


class _Answering:
    """The interface, as far as `ask` asks it."""

    def __init__(self, refused: str = "") -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._refused = refused

    async def get(self, path: str, **parameters: str) -> Any:
        self.asked.append((path, parameters))
        if path == self._refused:
            raise Refused(503, "Unavailable", "not now")
        return {
            "/v1/models": answers.models(),
            "/v1/plugins": answers.plugins(),
            "/controlnet/control_types": answers.types(),
            "/controlnet/module_list": answers.modules(by_label="alias_names" in parameters),
            "/controlnet/settings": {"control_net_unit_count": 5},
        }[path]


@pytest.mark.parametrize(("checkpoint", "judged"), [("a [1]", {"checkpoint": "a [1]"}), (None, {})])
async def test_models_are_judged_against_the_chosen_checkpoint(
    checkpoint: str | None, judged: dict[str, str]
) -> None:
    api = _Answering()
    known = await catalogue.ask(api, checkpoint)  # type: ignore[arg-type]
    assert ("/v1/models", judged) in api.asked
    assert (known.units, known.served) == (5, "demo-sd15.safetensors [02bbc48881]")
    assert known.module("inpaint").label == "inpaint_global_harmonious"


async def test_what_is_refused_is_not_taken_for_nothing() -> None:
    with pytest.raises(Refused):
        await catalogue.ask(_Answering("/v1/plugins"), None)  # type: ignore[arg-type]
