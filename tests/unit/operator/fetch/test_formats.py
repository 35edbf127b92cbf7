"""Pickles, by the format policy of the bundle: refused, converted, or taken as they are."""

import json

import pytest

from sd_modelfiles import header as headers
from sd_operator.fetch.errors import FetchError

CONVERTED = "models/Stable-diffusion/model.safetensors"
KEPT = "models/Stable-diffusion/model.ckpt"


@pytest.fixture
def source(fetches):
    return fetches.at("files/model.ckpt")


@pytest.fixture
def pickled(server, made):
    server.content = made.pickle()
    return server.content


def test_a_pickle_is_refused_before_it_is_stored(fetches, server, pickled, source):
    with pytest.raises(FetchError) as caught:
        fetches.run(source=source, fileName="model.safetensors")
    assert (caught.value.reason, caught.value.retryable) == ("FormatRefused", False)
    assert "pickle" in caught.value.message
    assert fetches.visible() == [] and fetches.left() == []


def test_a_clean_pickle_becomes_safetensors(fetches, made, pickled, source):
    found = fetches.of(policy="ScanPickle").run(source=source, sha256=made.sha256(pickled))
    target = fetches.root / CONVERTED
    assert fetches.visible() == [CONVERTED] and fetches.left() == []
    header = headers.read(target)
    assert set(header.tensors) == set(made.shapes) and found.size == target.stat().st_size
    assert (found.sha256, found.source_sha256) == (made.sha256(target.read_bytes()), made.sha256(pickled))
    assert (found.path, found.type, found.family) == (CONVERTED, "Checkpoint", "SD15")
    (entry,) = fetches.entries()
    assert (entry.sha256, entry.source_sha256) == (found.sha256, found.source_sha256)


@pytest.mark.parametrize("known", [True, False])
def test_a_converted_file_is_known_again(fetches, server, made, pickled, source, known):
    scanning = fetches.of(policy="ScanPickle")
    changes = {"sha256": made.sha256(pickled)} if known else {}
    first = scanning.run(source=source, **changes)
    server.requests.clear()
    assert scanning.run(source=source, **changes) == first
    assert server.requests == []


def test_a_damaged_conversion_is_made_anew(fetches, made, pickled, source):
    scanning = fetches.of(policy="ScanPickle")
    first = scanning.run(source=source, sha256=made.sha256(pickled))
    (fetches.root / CONVERTED).write_bytes(b"damaged")
    assert scanning.run(source=source, sha256=made.sha256(pickled)) == first
    assert made.sha256((fetches.root / CONVERTED).read_bytes()) == first.sha256


def test_a_conversion_that_died_before_its_manifest_entry_is_completed(
    fetches, server, made, pickled, source
):
    scanning = fetches.of(policy="ScanPickle")
    first = scanning.run(source=source)
    (fetches.root / ".sd-operator/manifest.json").unlink()
    with fetches.left_partial(identity=source["http"]["url"]) as left:
        left.seal(sha256=first.sha256, source_sha256=made.sha256(pickled))
    server.requests.clear()
    assert scanning.run(source=source) == first
    assert server.requests == []


@pytest.mark.parametrize("policy", ["ScanPickle", "Unsafe"])
def test_safetensors_are_taken_under_every_policy(fetches, server, policy):
    found = fetches.of(policy=policy).run()
    assert fetches.target.read_bytes() == server.content
    assert found.source_sha256 is None


def test_a_pickle_with_code_is_refused_by_the_names_it_asks_for(fetches, server, made, source, tmp_path):
    server.content = made.pickle(calls="os system")
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="ScanPickle").run(source=source)
    assert (caught.value.reason, caught.value.retryable) == ("PickleUnsafe", False)
    assert "os.system" in caught.value.message
    assert fetches.visible() == [] and fetches.left() == []


def test_a_pickle_of_something_else_is_refused_before_it_is_converted(fetches, server, made, source):
    server.content = made.pickle(
        {"lora_unet_a.lora_down.weight": (4, 4), "lora_unet_a.lora_up.weight": (4, 4)}
    )
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="ScanPickle").run(source=source)
    assert caught.value.reason == "TypeMismatch"


def test_the_family_of_a_pickle_is_held_against_the_wanted_one(fetches, pickled, source):
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="ScanPickle").run(source=source, family="SDXL")
    assert caught.value.reason == "FamilyMismatch"


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(5000), b"\x80\x02}." + bytes(600)])
def test_what_only_begins_as_a_pickle_is_refused(fetches, server, source, content):
    server.content = content
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="ScanPickle").run(source=source)
    assert (caught.value.reason, caught.value.retryable) == ("FormatRefused", False)


def test_a_wrong_hash_comes_before_what_the_pickle_says(fetches, server, made, source):
    server.content = made.pickle(calls="os system")
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="ScanPickle").run(source=source, sha256="0" * 64)
    assert caught.value.reason == "HashMismatch"


def test_unsafe_stores_a_pickle_as_it_is_and_says_what_it_shows(fetches, pickled, source):
    found = fetches.of(policy="Unsafe").run(source=source)
    assert (fetches.root / KEPT).read_bytes() == pickled
    assert (found.path, found.family, found.source_sha256) == (KEPT, "SD15", None)


@pytest.mark.parametrize("kind", ["with code", "unreadable"])
def test_unsafe_takes_even_what_cannot_be_read(fetches, server, made, source, kind):
    server.content = made.pickle(calls="os system") if kind == "with code" else b"PK\x03\x04" + bytes(5000)
    found = fetches.of(policy="Unsafe").run(source=source)
    assert (found.path, found.type, found.family) == (KEPT, "Checkpoint", None)
    (entry,) = fetches.entries()
    assert entry.family == ""


def test_unsafe_does_not_take_one_type_for_another(fetches, server, made, source):
    server.content = made.pickle(
        {"lora_unet_a.lora_down.weight": (4, 4), "lora_unet_a.lora_up.weight": (4, 4)}
    )
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="Unsafe").run(source=source)
    assert caught.value.reason == "TypeMismatch"


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_unsafe_stores_no_format_under_the_name_of_another(fetches, server, made, source, name):
    server.content = made.checkpoint() if name.endswith("ckpt") else made.pickle()
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="Unsafe").run(source=source, fileName=name)
    assert caught.value.reason == "FormatRefused" and "fileName" in caught.value.message


def test_an_unsafe_file_is_known_again(fetches, server, pickled, source):
    unsafe = fetches.of(policy="Unsafe")
    first = unsafe.run(source=source)
    server.requests.clear()
    assert unsafe.run(source=source) == first
    assert server.requests == []


def test_a_file_that_shows_no_family_has_none(fetches, server, made):
    names = {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}
    server.content = made.safetensors(names)
    found = fetches.run(type="VAE", source=fetches.at("files/vae.safetensors"))
    assert (found.path, found.type, found.family) == ("models/VAE/vae.safetensors", "VAE", None)
    assert json.loads((fetches.root / ".sd-operator/manifest.json").read_text())["files"][0]["family"] == ""


def test_room_for_the_conversion_is_asked_for_before_the_bytes(fetches, server, answer, pickled, source):
    free = 10**17
    server.content = pickled + bytes(100_000)
    server.script.append(answer.serve(headers={"Content-Range": f"bytes 0-65535/{free}"}))
    with pytest.raises(FetchError) as caught:
        fetches.of(policy="ScanPickle").run(source=source)
    assert caught.value.reason == "NoSpace" and f"and {free} for its conversion" in caught.value.message
