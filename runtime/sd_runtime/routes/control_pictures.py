"""The pictures that the units of ControlNet bring: read, decoded, and counted among those of the request."""

from collections.abc import Sequence

from sd_runtime.a1111.controlnet import reading
from sd_runtime.a1111.controlnet.reading import Given, Sent, Shown
from sd_runtime.a1111.plan import Inputs
from sd_runtime.a1111.schemas.unit import Unit
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.images import resizing
from sd_runtime.routes import inputs
from sd_runtime.routes.intake import Held
from sd_runtime.routes.services import Services
from sd_runtime.tasks.recipe import Grey


async def read(services: Services, units: Sequence[Unit], given: Inputs, held: Held) -> tuple[Given, ...]:
    """The units that are on, with their pictures; `given` has the others of the request. Raises
    `UnsupportedError`, and `Full` where others hold too many pixels."""
    found: list[Given] = []
    others = [each for each in (*given.images, given.mask, given.first_pass) if each is not None]
    total = sum(width * height for width, height in map(resizing.size_of, others))
    for index, unit in enumerate(units):
        if not unit.is_active:
            continue
        pictures = []
        for sent in reading.sent(index, unit):
            pictures.append(await shown(services, sent, held))
            total = _together(services, total, pictures[-1].image)
            if pictures[-1].mask is not None:
                total = _together(services, total, pictures[-1].mask)
        region = None
        if unit.effective_region_mask:
            field = reading.place(index, "effective_region_mask")
            region = await inputs.mask(services, field, unit.effective_region_mask, held, binary=False)
            total = _together(services, total, region)
        # Its texts are not needed any more, and would be in memory beside the pixels.
        dark = unit.model_copy(update=dict.fromkeys(("image", "mask", "effective_region_mask")))
        found.append(Given(index=index, unit=dark, pictures=tuple(pictures), region=region))
    return tuple(found)


async def shown(services: Services, sent: Sent, held: Held) -> Shown:
    """One picture with its mask, which must be of its size; raises as `read`."""
    image = await inputs.pixels(services, sent.field, sent.image, held)
    if sent.mask is None:
        return Shown(image)
    mask = await inputs.mask(services, sent.mask_field, sent.mask, held, binary=False)
    if resizing.size_of(mask) != resizing.size_of(image):
        own, allowed = (f"{width}x{height}" for width, height in map(resizing.size_of, (mask, image)))
        raise UnsupportedError(sent.mask_field, f"a mask of {own} pixels", f"{allowed}, as its picture has")
    return Shown(image, mask)


def _together(services: Services, before: int, pixels: Pixels | Grey) -> int:
    """A few bytes may be many pixels, and those of all pictures are in memory until the job has ended."""
    width, height = resizing.size_of(pixels)
    total = before + width * height
    most = services.settings.max_pixels_per_request
    if total > most:
        told = f"with the request's other pictures {total} pixels together"
        raise UnsupportedError(reading.ARGS, told, f"at most {most} on this server")
    return total
