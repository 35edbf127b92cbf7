"""GET /v1/models: what there is to choose, what is told of it, and whether it can be used."""

from dataclasses import replace

import numpy as np
import pytest
import small_files

from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType
from sd_runtime.images import codec

LORA_OF_SDXL = {
    "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": [1, 768],
    "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": [1, 1],
}
DORA = {**small_files.SHAPES[ModelType.LORA], "lora_unet_mid_block_attentions_0_proj_in.dora_scale": [1]}
INSTRUCT = {
    **small_files.SHAPES[ModelType.CHECKPOINT],
    "model.diffusion_model.input_blocks.0.0.weight": [1, 8, 1, 1],
}
VAE_OF_FLUX = {"encoder.conv_in.weight": [1, 3, 1, 1], "decoder.conv_in.weight": [1, 16, 1, 1]}


def put(world, name, content=b"x"):
    path = world.root / "bundle" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def listed(world, **query):
    async with world.client() as client:
        response = await client.get("/v1/models", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def one(world, type_, name, **query):
    answer = await listed(world, **query)
    (found,) = (each for each in answer["models"] if (each["type"], each["name"]) == (type_, name))
    return found


def png(side):
    return codec.encode(np.full((side, side, 3), 200, np.uint8), "png", None)


async def test_a_model_is_told_with_everything_that_one_chooses_by(world):
    notes = {
        "ss_tag_frequency": '{"set": {"sea": 3, "dawn": 9}}',
        "modelspec.description": "Light <b>towers</b>",
    }
    content = small_files.of(ModelType.LORA, {**notes, "ss_base_model_version": "sd_v1"})
    put(world, "models/Lora/far/beacon.safetensors", content)
    put(world, "models/Lora/far/beacon.preview.png", png(8))
    assert await one(world, "LoRA", "beacon") == {
        "type": "LoRA",
        "name": "beacon",
        "file": "models/Lora/far/beacon.safetensors",
        "family": "SD15",
        "bytes": len(content),
        "sha256": None,
        "insert": "<lora:beacon:1>",
        "trigger_words": ["dawn", "sea"],
        "description": "Light towers",
        "preview": "/v1/models/preview?type=LoRA&name=beacon",
        "usable": True,
        "reason": "",
    }


async def test_the_served_checkpoint_is_named_and_told_with_the_digest_of_what_was_loaded(world):
    answer = await listed(world)
    title = "shapes.safetensors [ab12ab12ab]"
    assert answer["checkpoint"] == title
    served = await one(world, "Checkpoint", title)
    assert (served["sha256"], served["family"], served["usable"]) == ("ab12" * 16, "SD15", True)


@pytest.mark.parametrize(
    ("type_", "path", "content", "name", "insert"),
    [
        ("VAE", "models/VAE/soft.safetensors", small_files.of(ModelType.VAE), "soft.safetensors", None),
        (
            "Embedding",
            "embeddings/goldie.safetensors",
            small_files.of(ModelType.TEXTUAL_INVERSION),
            "goldie",
            "goldie",
        ),
        ("Hypernetwork", "models/hypernetworks/dim.pt", b"x", "dim", "<hypernet:dim:1>"),
        (
            "ControlNet",
            "models/ControlNet/edges.safetensors",
            small_files.controlnet(Family.SD15),
            "edges [e3b0c442]",
            None,
        ),
        (
            "Upscaler",
            "models/ESRGAN/RealESRGAN_x4plus.safetensors",
            small_files.of(ModelType.UPSCALER),
            "R-ESRGAN 4x+",
            None,
        ),
    ],
)
async def test_each_type_goes_by_the_name_that_requests_use(world, type_, path, content, name, insert):
    put(world, path, content)
    assert (await one(world, type_, name))["insert"] == insert


@pytest.mark.parametrize(
    ("type_", "path", "content", "says"),
    [
        (
            "LoRA",
            "models/Lora/a.safetensors",
            small_files.safetensors(LORA_OF_SDXL),
            "for SDXL; shapes is of SD15",
        ),
        ("LoRA", "models/Lora/a.safetensors", small_files.safetensors(DORA), "kind DoRA; served are LoRA,"),
        ("LoRA", "models/Lora/a.safetensors", small_files.of(ModelType.VAE), "the file is a VAE"),
        ("LoRA", "models/Lora/a.safetensors", small_files.of(ModelType.LORA)[:-1], "bytes"),
        ("LoRA", "models/Lora/a.pt", b"x", "a pickle, and this server reads none"),
        ("VAE", "models/VAE/a.safetensors", small_files.safetensors(VAE_OF_FLUX), "16 latent channels"),
        (
            "Checkpoint",
            "models/Stable-diffusion/a.safetensors",
            small_files.safetensors(INSTRUCT),
            "instruct",
        ),
        ("Checkpoint", "models/Stable-diffusion/a.ckpt", b"x", "a pickle, and this server reads none"),
        ("ControlNet", "models/ControlNet/a.safetensors", small_files.controlnet(Family.SDXL), "for SDXL"),
        ("Embedding", "embeddings/a.safetensors", b"x", "1 bytes"),
        ("Hypernetwork", "models/hypernetworks/a.pt", b"x", "is no opcode that PyTorch writes"),
        (
            "Hypernetwork",
            "models/hypernetworks/a.safetensors",
            small_files.safetensors({"1024.0.linear.0.weight": [1, 1]}),
            "its networks are 1024 wide; no attention of shapes (SD15) is",
        ),
        ("Upscaler", "models/ESRGAN/a.safetensors", small_files.of(ModelType.LORA), "the file is a LoRA"),
    ],
)
async def test_what_cannot_be_used_is_there_with_the_reason(world, type_, path, content, says):
    put(world, path, content)
    answer = await listed(world)
    (found,) = (each for each in answer["models"] if each["file"] == path)
    assert (found["type"], found["usable"]) == (type_, False)
    assert says in found["reason"]
    assert "\n" not in found["reason"]


async def test_a_file_is_judged_against_the_checkpoint_that_is_named(world):
    put(world, "models/Stable-diffusion/large.safetensors", small_files.checkpoint(Family.SDXL))
    put(world, "models/Lora/a.safetensors", small_files.safetensors(LORA_OF_SDXL))
    put(world, "models/ControlNet/b.safetensors", small_files.controlnet(Family.SD15))
    assert (await one(world, "LoRA", "a", checkpoint="large"))["usable"]
    controlnet = await one(world, "ControlNet", "b [e3b0c442]", checkpoint="large")
    assert controlnet["reason"] == "made for SD15; large is of SDXL"
    # What is served is told all the same.
    assert (await listed(world, checkpoint="large"))["checkpoint"].startswith("shapes")


async def test_a_checkpoint_that_is_not_here_is_refused_with_those_that_are(world):
    async with world.client() as client:
        response = await client.get("/v1/models", params={"checkpoint": "nowhere"})
    assert response.status_code == 422
    assert response.json()["detail"].startswith("checkpoint: 'nowhere' is not supported; allowed: other.safe")


async def test_a_word_is_judged_by_the_width_of_the_served_text_encoder(world):
    put(world, "embeddings/wide.safetensors", small_files.safetensors({"emb_params": [1, 1024]}))
    world.services.state.become_ready(replace(world.services.state.loaded, text_widths=(768,)))
    found = await one(world, "Embedding", "wide")
    assert (found["family"], found["usable"]) == ("SD21", False)
    assert "1024 wide, this model's 768" in found["reason"]


async def test_a_lora_that_is_larger_than_all_adapters_may_be_is_not_usable(make_world, prompt_engine):
    world = make_world(prompt_engine, adapter_cache_bytes=100)
    await world.load()
    put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    assert "at most 100 are kept" in (await one(world, "LoRA", "a"))["reason"]


async def test_of_files_with_one_name_each_goes_by_one_that_leads_to_it(world):
    for place in ("a", "b"):
        put(world, f"models/Lora/{place}/twin.safetensors", small_files.of(ModelType.LORA, {"at": place}))
    for name in ("a/twin", "b/twin"):
        assert (await one(world, "LoRA", name))["insert"] == f"<lora:{name}:1>"
        found = world.services.library.find(ModelType.LORA, name)
        assert found.key == name


@pytest.mark.parametrize("name", ["a:b", "a>b"])
async def test_a_name_that_no_prompt_can_hold_is_told_of(world, name):
    put(world, f"models/Lora/{name}.safetensors", small_files.of(ModelType.LORA))
    found = await one(world, "LoRA", name)
    assert (found["insert"], found["usable"]) == (None, False)
    assert "no prompt can name it" in found["reason"]


async def test_files_come_and_go_without_a_refresh(world):
    path = put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    assert await one(world, "LoRA", "a")
    path.unlink()
    assert not [each for each in (await listed(world))["models"] if each["type"] == "LoRA"]


async def test_nothing_is_told_without_credentials(world):
    async with world.client(user=None) as client:
        for path in ("/v1/models", "/v1/models/preview?type=LoRA&name=a", "/v1/plugins"):
            assert (await client.get(path)).status_code == 401


# --- pictures


async def preview(world, name="a", type_="LoRA", **headers):
    async with world.client() as client:
        return await client.get("/v1/models/preview", params={"type": type_, "name": name}, headers=headers)


@pytest.mark.parametrize("ending", ["preview.png", "png", "preview.jpg", "jpeg", "preview.webp"])
async def test_a_picture_beside_a_model_is_its_preview(world, ending):
    put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    pixels = np.full((8, 16, 3), 200, np.uint8)
    put(world, f"models/Lora/a.{ending}", codec.encode(pixels, ending.rpartition(".")[2], None))
    answer = await preview(world)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert codec.read_size(answer.content) == (16, 8)


async def test_a_large_preview_is_made_small(world):
    put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    put(world, "models/Lora/a.png", png(1500))
    assert codec.read_size((await preview(world)).content) == (512, 512)


async def test_a_preview_is_sent_again_only_when_it_has_changed(world):
    put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    put(world, "models/Lora/a.png", png(8))
    tag = (await preview(world)).headers["etag"]
    again = await preview(world, **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    put(world, "models/Lora/a.png", png(9))
    assert (await preview(world, **{"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize("content", [b"no picture", b"", png(8)[:-30]])
async def test_a_preview_that_cannot_be_read_is_told_of_as_missing(world, content):
    put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    put(world, "models/Lora/a.png", content)
    answer = await preview(world)
    assert answer.status_code == 404
    assert "cannot be read" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"type": "LoRA", "name": "../../secret"}, 404),
        ({"type": "LoRA", "name": "nothing"}, 404),
        ({"type": "Lora", "name": "a"}, 422),
        ({"type": "LoRA"}, 422),
    ],
)
async def test_a_preview_of_what_is_not_there_is_refused(world, query, status):
    put(world, "secret.png", png(8))
    async with world.client() as client:
        assert (await client.get("/v1/models/preview", params=query)).status_code == status


async def test_links_that_lead_out_of_the_root_are_not_followed(world):
    put(world, "models/Lora/a.safetensors", small_files.of(ModelType.LORA))
    outside = world.root / "outside.png"
    outside.write_bytes(png(8))
    (world.root / "outside.json").write_text('{"description": "a secret"}')
    for ending in ("png", "json"):
        (world.root / f"bundle/models/Lora/a.{ending}").symlink_to(world.root / f"outside.{ending}")
    found = await one(world, "LoRA", "a")
    assert (found["preview"], found["description"]) == (None, None)
    assert (await preview(world)).status_code == 404
