"""Every call that the package `webuiapi` has, made once: runs in that client's own
environment, and prints as JSON what became of each.

    python webuiapi_calls.py HOST PORT USER PASSWORD

Nothing here is ours but the arguments; a call that raises is told with what it raised.
"""

import asyncio
import json
import sys
import warnings

import webuiapi
from PIL import Image, ImageDraw

SMALL = {"width": 64, "height": 64, "steps": 4, "cfg_scale": 3, "seed": 1}
PROMPT = "a large red circle on a white background"


def drawn():
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((12, 12, 52, 52), fill="red")
    return picture


def mask():
    picture = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(picture).rectangle((16, 16, 48, 48), fill=255)
    return picture


def told(result):
    """What an answer holds, in short."""
    if isinstance(result, webuiapi.WebUIApiResult):
        info = result.info if isinstance(result.info, str) else sorted(result.info)
        sizes = [list(image.size) for image in result.images]
        return {"images": sizes, "info": info, "parameters": sorted(result.parameters or {})}
    return result


def calls(api):
    picture, unit = drawn(), webuiapi.ControlNetUnit(image=drawn(), module="canny", model="none")
    control, pix, sam = (
        webuiapi.ControlNetInterface(api, show_deprecation_warning=False),
        webuiapi.InstructPix2PixInterface(api),
        webuiapi.SegmentAnythingInterface(api),
    )
    tagger, keywords = webuiapi.TaggerInterface(api), webuiapi.ModelKeywordInterface(api)
    return {
        # served
        "txt2img": lambda: api.txt2img(prompt=PROMPT, **SMALL),
        "txt2img hires": lambda: api.txt2img(prompt=PROMPT, enable_hr=True, hr_scale=2, **SMALL),
        "txt2img upscaler": lambda: api.txt2img(
            prompt=PROMPT, enable_hr=True, hr_upscaler=webuiapi.HiResUpscaler.Lanczos,
            hr_second_pass_steps=2, hr_sampler_name="DPM++ 2M", **SMALL,
        ),
        "txt2img batch": lambda: api.txt2img(
            prompt=PROMPT, negative_prompt="blue", batch_size=2, n_iter=2, styles=[], subseed=3,
            subseed_strength=0.2, sampler_name="DPM++ 2M", scheduler="karras", tiling=True,
            override_settings={"CLIP_stop_at_last_layers": 1}, **SMALL,
        ),
        "img2img": lambda: api.img2img(images=[picture], prompt=PROMPT, denoising_strength=0.5, **SMALL),
        "img2img inpaint": lambda: api.img2img(
            images=[picture], mask_image=mask(), inpainting_fill=1, prompt=PROMPT, mask_blur=2,
            inpaint_full_res_padding=8, **SMALL,
        ),
        "extra_single_image": lambda: api.extra_single_image(
            picture, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2
        ),
        "extra_batch_images": lambda: api.extra_batch_images(
            [picture, picture], upscaler_1=webuiapi.Upscaler.Nearest, upscaling_resize=1.5
        ),
        "png_info": lambda: api.png_info(api.txt2img(prompt=PROMPT, **SMALL).image),
        "interrupt": api.interrupt,
        "skip": api.skip,
        "get_options": api.get_options,
        "set_options": lambda: api.set_options(api.get_options()),
        "set_options changed": lambda: api.set_options(api.get_options() | {"jpeg_quality": 77}),
        "get_options changed": api.get_options,
        "get_cmd_flags": api.get_cmd_flags,
        "get_progress": api.get_progress,
        "get_samplers": api.get_samplers,
        "get_schedulers": api.get_schedulers,
        "get_sd_vae": api.get_sd_vae,
        "get_upscalers": api.get_upscalers,
        "get_latent_upscale_modes": api.get_latent_upscale_modes,
        "get_loras": api.get_loras,
        "get_sd_models": api.get_sd_models,
        "get_hypernetworks": api.get_hypernetworks,
        "get_face_restorers": api.get_face_restorers,
        "get_realesrgan_models": api.get_realesrgan_models,
        "get_prompt_styles": api.get_prompt_styles,
        "refresh_checkpoints": api.refresh_checkpoints,
        "get_scripts": api.get_scripts,
        "get_embeddings": api.get_embeddings,
        "get_memory": api.get_memory,
        "custom_get": lambda: api.custom_get("sdapi/v1/samplers"),
        "custom_post": lambda: api.custom_post("sdapi/v1/txt2img", {"prompt": PROMPT, **SMALL}),
        "util_get_model_names": api.util_get_model_names,
        "util_get_sampler_names": api.util_get_sampler_names,
        "util_get_scheduler_names": api.util_get_scheduler_names,
        "util_get_current_model": api.util_get_current_model,
        "util_set_model": lambda: api.util_set_model(api.util_get_current_model()),
        "util_wait_for_ready": lambda: api.util_wait_for_ready(check_interval=0.2),
        "asynchronous": lambda: asyncio.run(asynchronously(api, picture)),
        # of A1111's that are not served, and of extensions
        "interrogate": lambda: api.interrogate(picture),
        "get_artists": api.get_artists,
        "get_artist_categories": api.get_artist_categories,
        "list_prompt_gen_models": api.list_prompt_gen_models,
        "prompt_gen": lambda: api.prompt_gen(text="a"),
        "txt2img roop": lambda: api.txt2img(prompt=PROMPT, roop=webuiapi.Roop(img=picture), **SMALL),
        "txt2img reactor": lambda: api.txt2img(prompt=PROMPT, reactor=webuiapi.ReActor(img=picture), **SMALL),
        "txt2img adetailer": lambda: api.txt2img(
            prompt=PROMPT, adetailer=[webuiapi.ADetailer(ad_model="face_yolov8n.pt")], **SMALL
        ),
        "txt2img sag": lambda: api.txt2img(prompt=PROMPT, sag=webuiapi.Sag(), **SMALL),
        "txt2img animatediff": lambda: api.txt2img(
            prompt=PROMPT, animatediff=webuiapi.AnimateDiff(model="mm_sd_v15"), **SMALL
        )
        if hasattr(webuiapi, "AnimateDiff")
        else None,
        "txt2img controlnet": lambda: api.txt2img(prompt=PROMPT, controlnet_units=[unit], **SMALL),
        "controlnet_version": api.controlnet_version,
        "controlnet_model_list": api.controlnet_model_list,
        "controlnet_module_list": api.controlnet_module_list,
        "controlnet_detect": lambda: api.controlnet_detect([picture], module="canny"),
        "ControlNetInterface.model_list": control.model_list,
        "InstructPix2Pix": lambda: pix.img2img(images=[picture], prompt=PROMPT),
        "RemBG": lambda: webuiapi.RemBGInterface(api).rembg(input_image=picture),
        "SegmentAnything heartbeat": sam.heartbeat,
        "SegmentAnything models": sam.get_sam_models,
        "Tagger interrogate": lambda: tagger.tagger_interrogate(picture),
        "Tagger interrogators": tagger.tagger_interrogators,
        "ModelKeyword": keywords.get_keywords,
    }  # fmt: skip


async def asynchronously(api, picture):
    made, changed, larger = await asyncio.gather(
        api.txt2img(prompt=PROMPT, use_async=True, **SMALL),
        api.img2img(images=[picture], prompt=PROMPT, use_async=True, **SMALL),
        api.extra_single_image(picture, upscaler_1="Lanczos", use_async=True),
    )
    return [told(each) for each in (made, changed, larger)]


def main():
    warnings.simplefilter("ignore")
    host, port, user, password = sys.argv[1:]
    api = webuiapi.WebUIApi(host=host, port=int(port), username=user, password=password)
    api.default_sampler = "Euler a"
    found = {}
    for name, call in calls(api).items():
        try:
            found[name] = {"answer": told(call())}
        except Exception as error:  # noqa: BLE001 - told, whatever it is
            found[name] = {"raised": [type(error).__name__, *map(str, error.args)]}
    json.dump(found, sys.stdout, default=str)


main()
