"""From units to what the engine is told: every name becomes a module or a file, every picture a map to be
made, and what cannot be is refused before anything waits for it.

A map is made when the engine asks for it, so nothing here takes a plugin's time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sd_runtime.a1111 import fields, stock
from sd_runtime.a1111.controlnet import control_types, finishing, networks, preprocessors, reading
from sd_runtime.a1111.controlnet.finishing import Finish
from sd_runtime.a1111.controlnet.making import Maker
from sd_runtime.a1111.controlnet.networks import Network
from sd_runtime.a1111.controlnet.preprocessors import Preprocessor
from sd_runtime.a1111.controlnet.reading import Given, Shown, place
from sd_runtime.a1111.controlnet.scene import Pass, Scene
from sd_runtime.a1111.schemas.unit import HIGH_RES, LOW_RES, Unit
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import masks, resizing
from sd_runtime.images.resizing import Size
from sd_runtime.tasks import inpainting
from sd_runtime.tasks.control import ColourFix, Control, Hint
from sd_runtime.tasks.recipe import Grey, Mask, ResizeMode

#: Their maps are thin lines, with which sd-webui-controlnet weakens a second pass.
_THIN = ("canny", "mlsd")
#: They have the picture for a map, and their numbers are for the time when it is drawn.
_COLOUR_FIXES = ("tile_colorfix", "tile_colorfix+sharp")
#: What a mask has to be darker and lighter than somewhere to be a drawing (sd-webui-controlnet's).
_EMPTY, _FULL = 5, 250


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decided:
    """A unit once everything about it is decided."""

    index: int
    unit: Unit
    module: Preprocessor
    network: Network
    #: The module's parameters, by their names, before the picture's size decides about one.
    numbers: Mapping[str, float]
    #: One for each picture of a set that is used.
    controls: tuple[Control, ...]
    #: Of each one's map.
    pixels: tuple[int, ...]
    #: What is done to a picture that was drawn.
    finish: Finish
    #: At which the map is shown to the network; of a second pass first.
    sizes: tuple[Size, ...]

    def control(self, picture: int) -> Control:
        """That of the request's picture with this number."""
        return self.controls[picture % len(self.controls)]


def decide(given: Sequence[Given], scene: Scene) -> tuple[Decided, ...]:
    """Raises `UnsupportedError` under the place of what is wrong, and `PluginUnavailable`."""
    if len(given) > scene.most:
        allowed = f"at most {scene.most} that are on (option control_net_unit_count)"
        raise UnsupportedError(reading.ARGS, f"{len(given)} units", allowed)
    return tuple(_decided(each, scene) for each in given)


def _decided(given: Given, scene: Scene) -> Decided:
    index, unit = given.index, given.unit
    passes = _passes(unit, scene)
    if unit.weight:
        _refuse_refined(passes)
    with reading.in_unit(index):
        fields.refuse_unserved(unit)
        module, network = _names(unit, scene)
        for each in passes:
            networks.demand_family("model", network, each.family, each.checkpoint)
    preprocessors.demand_available(module)
    thresholds = unit.threshold_a, unit.threshold_b
    numbers = preprocessors.numbers(module, resolution=unit.processor_res, thresholds=thresholds)
    makers = [
        Maker(
            index=index,
            unit=unit,
            module=module,
            numbers=numbers,
            shown=each,
            scene=scene,
            original=_original(number, scene),
            mode=_mode(given, scene),
        )
        for number, each in enumerate(_pictures(given, module, scene)[: scene.pictures])
    ]
    for maker in makers:
        maker.judge_size()
    # What is wrong with the request's own mask is no fault of the unit's.
    blanks = [maker.blank() for maker in makers]
    with reading.in_unit(index):
        controls = tuple(
            _control(given, module, network, each, blank, scene)
            for each, blank in zip(makers, blanks, strict=True)
        )
    return Decided(
        index=index,
        unit=unit,
        module=module,
        network=network,
        numbers=numbers,
        controls=controls,
        pixels=tuple(each.pixels for each in makers),
        finish=_finish(index, module, scene),
        sizes=tuple(each.size for each in (scene.second, scene.first) if each),
    )


def _names(unit: Unit, scene: Scene) -> tuple[Preprocessor, Network]:
    """What the unit names; where it names a control type, that says what it leaves open."""
    module, model = unit.module, unit.model
    if unit.control_type is not None:
        known = preprocessors.all_of(scene.plugins)
        name = control_types.find("control_type", unit.control_type, known)
        chosen = control_types.select(name, known, networks.usable(scene.library), scene.first.family)
        if "module" not in unit.model_fields_set:
            module = control_types.demand_module("control_type", chosen).name
        if "model" not in unit.model_fields_set:
            model = chosen.default_network
    # First, as who names one that needs no ControlNet in the extension is to hear that it is not there.
    preprocessor = preprocessors.find(scene.plugins, "module", module)
    if model.strip().lower() in ("", "none"):
        named = networks.names(scene.library)
        allowed = f"a ControlNet of this server ({stock.some(named)})"
        raise UnsupportedError("model", model, f"{allowed}; /controlnet/detect makes a map without one")
    return preprocessor, networks.find(scene.library, "model", model)


def _finish(index: int, module: Preprocessor, scene: Scene) -> Finish:
    """What belongs to the module; img2img with a mask pastes what it does not draw by itself."""
    if module is preprocessors.INPAINT_ONLY and scene.mask is not None:
        return Finish.NOTHING
    finish = finishing.of(module.name)
    if finish is not Finish.NOTHING and scene.mask is not None and scene.mask.only_masked:
        allowed = f"other modules than {module.name} with inpaint_full_res, or inpaint_full_res false"
        raise UnsupportedError(place(index, "module"), module.name, allowed)
    return finish


def _passes(unit: Unit, scene: Scene) -> list[Pass]:
    """Those that the unit takes part in."""
    if scene.second is None:
        return [scene.first]
    out = {LOW_RES: scene.second, HIGH_RES: scene.first}.get(unit.hr_option)
    return [each for each in (scene.first, scene.second) if each is not out]


def _refuse_refined(passes: Sequence[Pass]) -> None:
    """Where a refiner of another family draws all of a unit's passes from their first step on, the unit would
    change nothing, though its map would be made."""
    if passes and all(each.refiner for each in passes):
        refiner = passes[0].refiner
        allowed = (
            f"more than 0 with units of ControlNet: the refiner {refiner} goes on without them, as it is of"
            f" another family than {passes[0].checkpoint}"
        )
        raise UnsupportedError("refiner_switch_at", 0, allowed)


def _pictures(given: Given, module: Preprocessor, scene: Scene) -> list[Shown]:
    """The unit's own, else those that are drawn over; with a mask where the module takes one."""
    index = given.index
    if given.pictures:
        shown = [_as_taken(each, module) for each in given.pictures]
    elif scene.images:
        soft = _softened(scene.mask) if scene.mask and module.is_inpainting else None
        shown = [
            Shown(each, None if soft is None else resizing.lanczos(soft, resizing.size_of(each)))
            for each in scene.images
        ]
    else:
        allowed = "a picture (the unit brings none, and txt2img has none to fall back on)"
        raise UnsupportedError(place(index, "image"), given.unit.image, allowed)
    if module.is_inpainting and any(each.mask is None for each in shown):
        allowed = f"a mask, white where the picture is to be drawn anew (module {module.name})"
        raise UnsupportedError(place(index, "mask"), given.unit.mask, allowed)
    return shown


def _as_taken(shown: Shown, module: Preprocessor) -> Shown:
    if module.takes_mask or shown.mask is None:
        return shown
    is_drawing = (shown.mask > _EMPTY).any() and (shown.mask < _FULL).any()
    return Shown(np.stack([shown.mask] * 3, axis=2) if is_drawing else shown.image)


def _softened(mask: Mask) -> Grey:
    return masks.blur(inpainting.oriented(mask), mask.blur_x, mask.blur_y)


def _mode(given: Given, scene: Scene) -> ResizeMode:
    """A picture that is drawn over is resized as it is for that."""
    if given.pictures:
        return given.unit.resize_mode
    return ResizeMode.STRETCH if scene.resize_mode is ResizeMode.LATENT else scene.resize_mode


def _original(number: int, scene: Scene) -> Size | None:
    """The size of the picture that is drawn over, of which a part is cut."""
    return resizing.size_of(scene.images[number % len(scene.images)]) if scene.images else None


def _control(
    given: Given, module: Preprocessor, network: Network, maker: Maker, blank: Grey | None, scene: Scene
) -> Control:
    unit, is_second = given.unit, scene.second is not None
    return Control(
        network=network.path,
        hint=Hint(maker.make, lane=module.plugin.plugin if module.plugin else None),
        weight=unit.weight,
        start=unit.guidance_start,
        end=unit.guidance_end,
        mode=unit.control_mode,
        resize_mode=maker.mode,
        first_pass=not (is_second and unit.hr_option == HIGH_RES),
        second_pass=unit.hr_option != LOW_RES,
        soft_second_pass=module.name in _THIN,
        mask=given.region,
        blank=blank,
        colour_fix=_colour_fix(module, maker.numbers),
        field=place(given.index, "model"),
    )


def _colour_fix(module: Preprocessor, numbers: Mapping[str, float]) -> ColourFix | None:
    if module.name not in _COLOUR_FIXES:
        return None
    usual = ColourFix()
    return ColourFix(
        variation=int(numbers.get("variation", usual.variation)),
        sharpness=numbers.get("sharpness", usual.sharpness),
    )
