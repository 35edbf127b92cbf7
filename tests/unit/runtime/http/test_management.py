"""The management door: probes, state and metrics through the life of the process."""

import asyncio
import hashlib

import pytest

from sd_runtime import __version__, serving
from sd_runtime.device import DeviceMemory
from sd_runtime.metrics import Metrics

TOKEN = "0123456789abcdef"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


async def test_at_first_the_process_is_starting(make_world, prompt_engine):
    world = make_world(prompt_engine)
    assert await world.state() == {
        "health": "Starting",
        "checkpoint": None,
        "error": None,
        "device": None,
        "version": __version__,
        "credentials": "Present",
        "credentialsError": None,
        "desired": {"revision": None, "generation": None, "inEffect": False, "error": None},
        "optionErrors": [],
        "plugins": [],
        "startup": None,
        "files": [],
        "draining": False,
    }
    assert await world.readiness() == (503, "Starting")


async def test_while_the_checkpoint_is_read_the_process_is_loading(make_world, prompt_engine):
    world = make_world(prompt_engine)
    world.services.state.begin_loading()
    assert (await world.state())["health"] == "Loading"
    assert await world.readiness() == (503, "Loading")


async def test_with_the_checkpoint_resident_it_is_ready_and_tells_digest_and_device(world):
    assert await world.state() == {
        "health": "Ready",
        "checkpoint": {
            "path": "models/Stable-diffusion/shapes.safetensors",
            "sha256": "ab12" * 16,
            "family": "SD15",
            "prediction": "epsilon",
            "predictionReason": "",
            "bytes": 0,
        },
        "error": None,
        "device": {"type": "cpu", "name": "a test's CPU", "dtype": "float32"},
        "version": __version__,
        "credentials": "Present",
        "credentialsError": None,
        "desired": {"revision": None, "generation": None, "inEffect": True, "error": None},
        "optionErrors": [],
        "plugins": [],
        "startup": {"loadSeconds": 1.0, "warmUpSeconds": 0.0},
        "files": [],
        "draining": False,
    }
    assert await world.readiness() == (200, "ready")


async def test_an_instance_that_admits_nobody_is_not_ready_until_the_credentials_are_there(world):
    password = world.root / "auth" / "password"
    secret = password.read_text()
    password.unlink()
    status, words = await world.readiness()
    assert (status, "password" in words) == (503, True)
    told = await world.state()
    assert (told["health"], told["credentials"]) == ("Ready", "Missing")
    assert "password" in told["credentialsError"]
    password.write_text(secret)
    assert await world.readiness() == (200, "ready")
    assert (await world.state())["credentials"] == "Present"


async def test_an_open_instance_wants_no_credentials(make_world, prompt_engine):
    world = make_world(prompt_engine, auth="disabled")
    assert (await world.state())["credentials"] == "NotRequired"


async def test_a_failed_load_is_kept_and_told(make_world, unloadable_engine):
    world = make_world(unloadable_engine)
    await world.load()
    told = await world.state()
    assert told["health"] == "LoadFailed"
    assert "not a safetensors file" in told["error"]
    assert await world.readiness() == (503, "LoadFailed")


async def test_a_draining_process_says_so_stays_ready_and_finishes_what_it_accepted(slow_world):
    services = slow_world.services
    async with slow_world.client() as client:
        accepted = asyncio.create_task(client.post("/sdapi/v1/txt2img", json={"width": 64, "height": 64}))
        while not slow_world.engine.tickets:
            await asyncio.sleep(0.001)
        draining = asyncio.create_task(
            serving.drain(state=services.state, queue=services.queue, ledger=services.ledger, seconds=60)
        )
        await asyncio.sleep(0)
        refused = await client.post("/sdapi/v1/txt2img", json={})
        assert await slow_world.readiness() == (200, "draining")
        assert not draining.done()
        slow_world.engine.tickets[0].finish()
        await draining
        assert (await accepted).status_code == 200
    assert (refused.status_code, refused.json()["error"]) == (503, "Draining")
    assert "retry-after" in refused.headers


@pytest.mark.parametrize(
    ("digest", "header", "address", "status"),
    [
        (DIGEST, f"Bearer {TOKEN}", "10.0.0.1", 200),
        (DIGEST, f"bearer {TOKEN}", "10.0.0.1", 200),
        (DIGEST, "Bearer wrong", "10.0.0.1", 401),
        (DIGEST, f"Bearer {DIGEST}", "10.0.0.1", 401),
        (DIGEST, f"Basic {TOKEN}", "10.0.0.1", 401),
        (DIGEST, "", "127.0.0.1", 401),
        ("", "", "127.0.0.1", 200),
        ("", "", "::1", 200),
        ("", "Bearer x", "10.0.0.1", 401),
    ],
)
async def test_who_may_read_the_state(make_world, prompt_engine, digest, header, address, status):
    async with make_world(prompt_engine, management_token_sha256=digest).management(
        address=address
    ) as client:
        response = await client.get("/v1/state", headers={"authorization": header} if header else {})
    assert response.status_code == status


async def test_probes_and_metrics_need_no_token(make_world, prompt_engine):
    world = make_world(prompt_engine, management_token_sha256=DIGEST)
    await world.load()
    async with world.management(address="10.0.0.1") as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200


async def test_metrics_tell_of_network_calls_pictures_and_the_queue(world):
    metrics = world.services.metrics
    metrics.watch_queue(world.services.queue.waiting)
    metrics.unet_call(rows=2, requests=1, seconds=0.1)
    metrics.unet_call(rows=6, requests=3, seconds=0.1)
    async with world.client() as client:
        await client.post("/sdapi/v1/txt2img", json={"width": 64, "height": 64, "batch_size": 2})
    async with world.management() as client:
        lines = (await client.get("/metrics")).text.splitlines()
    for line in (
        "sd_evaluations_total 8.0",
        "sd_unet_calls_total 2.0",
        "sd_shared_calls_total 1.0",
        "sd_evaluation_batch_rows_sum 8.0",
        "sd_queue_depth 0.0",
        "sd_images_total 2.0",
        'sd_requests_total{code="200",route="/sdapi/v1/txt2img"} 1.0',
    ):
        assert line in lines


MEMORY = DeviceMemory(
    total=80,
    free=30,
    allocated=20,
    most_allocated=25,
    active=22,
    most_active=27,
    reserved=40,
    most_reserved=45,
    inactive=5,
    most_inactive=6,
    retries=0,
    ran_out=0,
)


@pytest.mark.parametrize("memory", [{}, MEMORY.by_kind()])
def test_metrics_tell_of_the_gpus_memory_where_there_is_one(memory):
    metrics = Metrics()
    metrics.watch_device_memory(lambda: memory)
    found = {
        kind: metrics.registry.get_sample_value("sd_device_memory_bytes", {"kind": kind})
        for kind in ("total", "free", "allocated", "reserved")
    }
    assert list(found.values()) == ([80, 30, 20, 40] if memory else [None] * 4)


async def test_memory_that_ran_out_is_counted(world):
    world.services.metrics.memory_ran_out()
    async with world.management() as client:
        assert "sd_device_memory_ran_out_total 1.0" in (await client.get("/metrics")).text


async def test_files_that_cannot_be_used_are_told_with_the_reason(world):
    root = world.root / "bundle"
    whole = (world.folder / "other.safetensors").read_bytes()
    (world.folder / "cut.safetensors").write_bytes(whole[:-1])
    (world.folder / "page.safetensors").write_bytes(b"<html>not found</html>")
    (root / "models/Lora").mkdir()
    (root / "models/Lora/whole.safetensors").write_bytes(whole)
    told = {file["path"]: file for file in (await world.state())["files"]}
    assert set(told) == {
        "models/Stable-diffusion/cut.safetensors",
        "models/Stable-diffusion/page.safetensors",
        "models/Lora/whole.safetensors",
    }
    assert "1114111" in told["models/Stable-diffusion/cut.safetensors"]["error"]
    assert "type LoRA was asked for" in told["models/Lora/whole.safetensors"]["error"]
    for file in told.values():
        assert (file["root"], file["sha256"], bool(file["error"])) == (str(root), "", True)


async def test_a_file_is_looked_into_once_and_again_when_it_was_mended(world):
    file = world.folder / "cut.safetensors"
    whole = (world.folder / "other.safetensors").read_bytes()
    file.write_bytes(whole[:-1])
    async with world.management() as client:
        for _ in range(2):
            assert len((await client.get("/v1/state")).json()["files"]) == 1
        file.write_bytes(whole)
        assert (await client.get("/v1/state")).json()["files"] == []
