"""The desired state over the wire: the file at start, PUT /v1/desired, and what /v1/state says of both."""

import hashlib
import json
import os

import pytest

from sd_runtime import desired
from sd_runtime.desired import DesiredError, DesiredUpdate, Wish

TOKEN = "0123456789abcdef"
OLD, NEW = "ab12" * 16, "cd34" * 16
STATE_FIELDS = {
    *("health", "checkpoint", "error", "device", "version", "credentials", "credentialsError"),
    *("desired", "optionErrors", "plugins", "startup", "files", "draining"),
}


def document(world, name="shapes", sha256=OLD, **fields):
    checkpoint = {"path": str(world.folder / f"{name}.safetensors"), "sha256": sha256}
    return {"revision": name, "checkpoint": checkpoint, "options": {}} | fields


def body(world, **fields):
    return document(world, **({"generation": 1} | fields))


async def put(world, content, **request):
    async with world.management() as client:
        return await client.put("/v1/desired", json=content, **request)


async def test_what_is_in_effect_already_is_answered_with_200_and_what_is_to_be_done_with_202(world, until):
    first = await put(world, body(world, options={"CLIP_stop_at_last_layers": 2}))
    assert (first.status_code, set(first.json())) == (200, STATE_FIELDS)
    assert first.json()["desired"] == {
        "revision": "shapes",
        "generation": 1,
        "inEffect": True,
        "error": None,
    }
    second = await put(world, body(world, name="other", sha256=NEW, generation=2))
    assert (second.status_code, set(second.json())) == (202, STATE_FIELDS)
    assert (await put(world, body(world, name="other", sha256=NEW, generation=2))).status_code == 200
    await until(lambda: world.services.state.desired.in_effect)
    told = await world.state()
    assert (told["checkpoint"]["sha256"], told["desired"]["inEffect"]) == (NEW, True)


async def test_an_older_generation_is_refused_with_409_in_the_shape_of_every_refusal(world):
    await put(world, body(world, generation=7))
    response = await put(world, body(world, name="other", sha256=NEW, generation=6))
    assert response.status_code == 409
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert response.json()["error"] == "Outdated"
    assert "generation: 6 is older than 7" in response.json()["detail"]


def without(name):
    return lambda given: {key: value for key, value in given.items() if key != name}


def with_checkpoint(**fields):
    return lambda given: given | {"checkpoint": given["checkpoint"] | fields}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without("generation"), ["generation", "required"]),
        (without("revision"), ["revision", "required"]),
        (without("checkpoint"), ["checkpoint", "required"]),
        (lambda given: given | {"generation": -1}, ["generation", "-1", "greater than or equal to 0"]),
        (lambda given: given | {"generation": True}, ["generation", "True", "integer"]),
        (lambda given: given | {"generation": "1"}, ["generation", "'1'", "integer"]),
        (lambda given: given | {"revision": ""}, ["revision", "''", "at least 1"]),
        (lambda given: given | {"revision": 5}, ["revision", "5", "string"]),
        (lambda given: given | {"options": [1]}, ["options", "[1]", "object"]),
        (lambda given: given | {"plugins": []}, ["plugins", "not permitted"]),
        (lambda given: [given], ["document", "object"]),
        (with_checkpoint(sha256="ab"), ["checkpoint.sha256", "'ab'", "[0-9a-f]{64}"]),
        (with_checkpoint(sha256="AB12" * 16), ["checkpoint.sha256", "[0-9a-f]{64}"]),
        (with_checkpoint(path="/etc/passwd"), ["checkpoint.path", "/etc/passwd", "/bundle"]),
        (with_checkpoint(path="a.safetensors"), ["checkpoint.path", "a.safetensors", "/bundle"]),
        (with_checkpoint(path=""), ["checkpoint.path", "at least 1"]),
    ],
)
async def test_a_malformed_wish_is_refused_with_field_value_and_what_is_allowed(world, spoil, told):
    response = await put(world, spoil(body(world)))
    assert response.status_code == 422
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    for part in told:
        assert part in response.json()["detail"]
    assert (await world.state())["desired"]["revision"] is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_is_refused(world, content):
    async with world.management() as client:
        response = await client.put("/v1/desired", content=content)
    assert response.status_code == 422
    assert "not JSON" in response.json()["detail"]


async def test_a_huge_body_is_refused(world):
    async with world.management() as client:
        response = await client.put("/v1/desired", content=b" " * (desired.MAX_BYTES + 1))
    assert response.status_code == 413


@pytest.mark.parametrize("escape", ["..", "link", "nul", "root"])
async def test_a_path_that_leaves_the_model_roots_is_refused(world, escape):
    (world.root / "secret.safetensors").write_bytes(b"s")
    (world.folder / "link.safetensors").symlink_to(world.root / "secret.safetensors")
    path = {
        "..": f"{world.root}/bundle/models/../../secret.safetensors",
        "link": f"{world.folder}/link.safetensors",
        "nul": f"{world.folder}/a\0.safetensors",
        "root": f"{world.root}/bundle",
    }[escape]
    response = await put(world, with_checkpoint(path=path)(body(world)))
    assert response.status_code == 422
    assert "checkpoint.path" in response.json()["detail"]
    assert f"{world.root}/bundle" in response.json()["detail"]


async def test_a_link_that_stays_below_the_roots_is_taken(world):
    (world.folder / "link.safetensors").symlink_to(world.folder / "other.safetensors")
    assert (await put(world, body(world, name="link", sha256=NEW))).status_code == 202


def test_without_model_roots_every_wish_is_refused():
    wish = {"revision": "1", "generation": 1, "checkpoint": {"path": "/a.safetensors", "sha256": NEW}}
    with pytest.raises(DesiredError, match="SD_MODEL_ROOTS is empty"):
        desired.decode(DesiredUpdate, json.dumps(wish).encode(), ())


@pytest.mark.parametrize(("header", "status"), [(f"Bearer {TOKEN}", 200), ("Bearer wrong", 401), ("", 401)])
async def test_who_may_send_wishes(make_world, prompt_engine, header, status):
    world = make_world(prompt_engine, management_token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest())
    await world.load()
    headers = {"authorization": header} if header else {}
    response = await put(world, body(world), headers=headers)
    assert response.status_code == status
    assert world.services.state.desired.revision == ("shapes" if status == 200 else None)


async def test_without_a_token_wishes_come_from_loopback_only(world):
    async with world.management(address="10.0.0.1") as client:
        assert (await client.put("/v1/desired", json=body(world))).status_code == 401


async def test_a_process_that_ends_takes_no_wish_and_says_that_it_ends(world):
    world.services.state.drain()
    response = await put(world, body(world, name="other", sha256=NEW))
    assert (response.status_code, response.json()["error"]) == (503, "Draining")
    assert int(response.headers["retry-after"]) > 0
    told = await world.state()
    assert (told["draining"], told["desired"]["revision"]) == (True, None)


@pytest.fixture
def world_of(make_world, prompt_engine, tmp_path):
    """A server that takes what to serve from a file with this content; None: there is no file."""

    def make(content):
        path = tmp_path / "desired.json"
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return make_world(prompt_engine, checkpoint=None, desired_file=path)

    return make


@pytest.fixture
def at_start(tmp_path):
    path = tmp_path / "bundle" / "models" / "Stable-diffusion" / "other.safetensors"
    checkpoint = {"path": str(path), "sha256": NEW}
    return {"revision": "r1", "checkpoint": checkpoint, "options": {"CLIP_stop_at_last_layers": 2}}


async def test_the_desired_file_decides_what_is_served_at_start(world_of, at_start):
    world = world_of(at_start)
    await world.load()
    told = await world.state()
    assert (
        told["checkpoint"].items()
        >= {"path": "models/Stable-diffusion/other.safetensors", "sha256": NEW}.items()
    )
    assert told["desired"] == {"revision": "r1", "generation": None, "inEffect": True, "error": None}
    async with world.client() as client:
        options = (await client.get("/sdapi/v1/options")).json()
    assert options["CLIP_stop_at_last_layers"] == 2
    answer = await put(world, at_start | {"generation": 3})
    assert (answer.status_code, answer.json()["desired"]["generation"]) == (200, 3)


async def test_the_file_is_read_once(world_of, at_start):
    world = world_of(at_start)
    (world.root / "desired.json").unlink()
    await world.load()
    assert (await world.state())["health"] == "Ready"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ["cannot be read", "No such file"]),
        (b"{", ["not JSON"]),
        (b"[]", ["object"]),
        ({"revision": "1"}, ["checkpoint", "required"]),
        (b" " * (desired.MAX_BYTES + 1), ["larger than"]),
        (
            {"revision": "1", "checkpoint": {"path": "/etc/passwd", "sha256": NEW}},
            ["checkpoint.path: '/etc/passwd'", "/bundle"],
        ),
    ],
    ids=["missing", "cut off", "a list", "a part", "huge", "outside"],
)
async def test_a_desired_file_that_says_nothing_is_a_failed_load_and_a_wish_mends_it(
    world_of, content, told, until
):
    world = world_of(content)
    await world.load()
    state = await world.state()
    assert (state["health"], state["checkpoint"]) == ("LoadFailed", None)
    for part in ["desired.json", *told]:
        assert part in state["error"]
    assert state["desired"] == {
        "revision": None,
        "generation": None,
        "inEffect": False,
        "error": state["error"],
    }
    async with world.client() as client:
        assert (await client.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == ""
        assert (await client.get("/sdapi/v1/cmd-flags")).json()["ckpt"] is None
        assert len((await client.get("/sdapi/v1/sd-models")).json()) == 2
        refused = await client.post("/sdapi/v1/txt2img", json={})
    assert (refused.status_code, "desired.json" in refused.json()["detail"]) == (503, True)
    assert (await put(world, body(world))).status_code == 202
    await until(lambda: world.services.state.health == "Ready")


def test_options_may_be_left_out(tmp_path):
    path = tmp_path / "desired.json"
    checkpoint = {"path": str(tmp_path / "a.safetensors"), "sha256": NEW}
    path.write_text(json.dumps({"revision": "1", "checkpoint": checkpoint}))
    wish = Wish(path=tmp_path / "a.safetensors", sha256=NEW, revision="1")
    assert desired.read(path, [tmp_path]) == wish


async def test_the_state_lists_the_files_of_the_manifests_with_the_fault_of_one_that_is_cut(world):
    root = world.root / "bundle"
    names = ("shapes", "other", "absent", "folder")
    entries = [
        {
            "path": f"models/Stable-diffusion/{name}.safetensors",
            "size": 0x110000,
            "sha256": hashlib.sha256(name.encode()).hexdigest(),
            "type": "Checkpoint",
            "family": "SD15",
            "source": "http",
            "owners": [f"bundle/{name}"],
        }
        for name in names
    ]
    (root / ".sd-operator").mkdir()
    (root / ".sd-operator/manifest.json").write_text(json.dumps({"version": 1, "files": entries}))
    os.truncate(world.folder / "other.safetensors", 0x10FFFF)
    (world.folder / "folder.safetensors").mkdir()
    shapes, other = (await world.state())["files"]
    assert shapes == {
        "root": str(root),
        "path": "models/Stable-diffusion/shapes.safetensors",
        "sha256": hashlib.sha256(b"shapes").hexdigest(),
        "type": "Checkpoint",
        "error": None,
    }
    assert (other["path"], other["sha256"]) == ("models/Stable-diffusion/other.safetensors", "")
    assert "has 1114111 bytes; when it was fetched it had 1114112" in other["error"]
    os.truncate(world.folder / "other.safetensors", 0x110000)
    assert all(file["sha256"] for file in (await world.state())["files"])
