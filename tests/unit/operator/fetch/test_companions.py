"""The small files that a source has for a model, beside it."""

import json

import pytest

from sd_modelfiles import manifest
from sd_operator.fetch.errors import FetchError

FOLDER = "models/Stable-diffusion"
SOURCE = {"civitai": {"modelVersionId": 7}}


class Site:
    """Answers as Civitai does; a test changes what it has."""

    def __init__(self, address, sha256, answer):
        file = {
            "name": "model.safetensors",
            "type": "Model",
            "primary": True,
            "metadata": {"format": "SafeTensor"},
            "hashes": {"SHA256": sha256},
            "downloadUrl": f"{address}/download/7",
        }
        picture = {"url": f"{address}/pictures/1.jpeg", "type": "image"}
        self.version = {"id": 7, "trainedWords": ["a word"], "files": [file], "images": [picture]}
        self.picture = answer.reply(200, b"picture", Content_Type="image/jpeg")
        self._answer = answer

    def __call__(self, handler):
        if "/api/" in handler.path:
            document = json.dumps(self.version).encode()
            self._answer.reply(200, document, Content_Type="application/json")(handler)
        elif "/pictures/" in handler.path:
            self.picture(handler)
        else:
            self._answer.serve()(handler)


@pytest.fixture
def site(server, answer, made):
    server.otherwise = Site(server.address, made.sha256(server.content).upper(), answer)
    return server.otherwise


def test_companions_lie_beside_their_file_and_are_listed(fetches, site):
    fetches.run(source=SOURCE)
    names = [f"{FOLDER}/model.civitai.info", f"{FOLDER}/model.preview.jpeg"]
    assert fetches.visible() == sorted([*names, f"{FOLDER}/model.safetensors"])
    (entry,) = fetches.entries()
    assert sorted(entry.companions) == names
    assert json.loads((fetches.root / names[0]).read_text())["trainedWords"] == ["a word"]
    assert (fetches.root / names[1]).read_bytes() == b"picture"
    assert fetches.left() == []


def faults(answer):
    return {
        "missing": answer.reply(404),
        "a login page": answer.reply(200, b"<html>", Content_Type="text/html"),
        "too large": answer.reply(200, bytes(17 * 1024 * 1024)),
    }


@pytest.mark.parametrize("fault", ["missing", "a login page", "too large"])
def test_a_companion_that_cannot_be_had_costs_only_itself(fetches, site, answer, fault):
    site.picture = faults(answer)[fault]
    fetches.run(source=SOURCE)
    assert fetches.visible() == [f"{FOLDER}/model.civitai.info", f"{FOLDER}/model.safetensors"]
    assert len(fetches.entries()[0].companions) == 1


def test_a_file_of_the_users_own_is_left_as_it_is(fetches, site):
    mine = fetches.root / FOLDER / "model.preview.jpeg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    fetches.run(source=SOURCE)
    assert mine.read_bytes() == b"mine"
    assert fetches.entries()[0].companions == (f"{FOLDER}/model.civitai.info",)


def test_companions_are_renewed_with_their_file(fetches, site, server, made, answer):
    fetches.run(source=SOURCE)
    server.content = made.checkpoint(size=9000)
    site.version["files"][0]["hashes"]["SHA256"] = made.sha256(server.content)
    site.picture = answer.reply(200, b"another", Content_Type="image/jpeg")
    fetches.run(source=SOURCE, sha256=made.sha256(server.content))
    assert (fetches.root / FOLDER / "model.preview.jpeg").read_bytes() == b"another"
    assert len(fetches.entries()[0].companions) == 2


def test_a_file_that_the_source_says_is_another_is_refused(fetches, site, server, made):
    site.version["files"][0]["hashes"]["SHA256"] = "0" * 64
    with pytest.raises(FetchError) as caught:
        fetches.run(source=SOURCE)
    assert caught.value.reason == "HashMismatch" and "civitai:" in caught.value.message


def test_what_the_source_says_of_a_file_spares_its_download(fetches, site, server):
    fetches.run(source=SOURCE)
    server.requests.clear()
    fetches.of(bundle="second").run(source=SOURCE, fileName="copy.safetensors")
    assert not any("/download/" in path for path, _ in server.requests)
    assert (fetches.root / FOLDER / "copy.safetensors").samefile(fetches.root / FOLDER / "model.safetensors")
    assert (fetches.root / FOLDER / "copy.preview.jpeg").read_bytes() == b"picture"


@pytest.fixture
def died(fetches, site):
    """A fetch that put the file and its companions in place, and could not write them down."""
    blocked = manifest.path_in(fetches.root).with_suffix(".json.new")
    blocked.mkdir(parents=True)
    with pytest.raises(FetchError):
        fetches.run(source=SOURCE)
    blocked.rmdir()
    assert len(fetches.visible()) == 3 and fetches.entries() == []


def test_companions_that_were_not_written_down_are_found_again(fetches, died):
    fetches.run(source=SOURCE)
    (entry,) = fetches.entries()
    assert sorted(entry.companions) == [f"{FOLDER}/model.civitai.info", f"{FOLDER}/model.preview.jpeg"]


def test_companions_that_were_not_written_down_go_with_their_file(fetches, died):
    fetches.run(source=fetches.at("files/other.safetensors"), name="other")
    fetches.run(source=fetches.at("files/base.safetensors"))
    assert fetches.visible() == [f"{FOLDER}/base.safetensors", f"{FOLDER}/other.safetensors"]


@pytest.mark.parametrize("suffix", [".companion", ".companion.new"])
def test_a_companion_is_not_written_through_a_link(fetches, site, tmp_path, suffix):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    fetches.part.parent.mkdir(parents=True)
    fetches.part.with_name(f"demo--base{suffix}").symlink_to(victim)
    fetches.run(source=SOURCE)
    assert victim.read_bytes() == b"precious"
