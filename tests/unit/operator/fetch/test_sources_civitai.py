"""Files of a Civitai-shaped catalogue: which file of a version is meant, and what comes along with it."""

import json
import tracemalloc

import pytest

from sd_operator.fetch import answers, errors, sources
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.request import Request, Source
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import Reply, redirect, secret, serving, settings

SHA = "ab" * 32


def wanted(policy="SafetensorsOnly", file_type="Checkpoint"):
    file = {"name": "f", "type": file_type, "sources": [source().model_dump(by_alias=True)]}
    return Request.model_validate({"bundle": "b", "formatPolicy": policy, "file": file})


def source(**changes):
    return Source.model_validate({"civitai": changes or {"modelVersionId": 101}})


def listed(name, **changes):
    suffix = name.rpartition(".")[2]
    formats = {"safetensors": "SafeTensor", "ckpt": "PickleTensor", "pt": "PickleTensor"}
    return {
        "name": name,
        "type": "Model",
        "sizeKB": 2.5,
        "metadata": {"format": formats.get(suffix, "Other")},
        "hashes": {"AutoV2": "ABABABABAB", "SHA256": SHA.upper()},
        "downloadUrl": f"/api/download/models/101?name={name}",
    } | changes


def version(*files, **changes):
    return {"id": 101, "trainedWords": ["one", "zwei ü"], "files": list(files), "images": []} | changes


def resolved(document, *, words=None, request=None, status=200, headers=None, secrets=None):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with serving(Reply(status, body, headers or {"Content-Type": "application/json"})) as web:
        known = settings(civitai_endpoint=web.url("/"))
        with loopback.client(known) as client:
            found = sources.resolve(
                words or source(), wanted=request or wanted(), client=client, settings=known
            )
    return found, web


def test_a_version_by_its_number():
    found, web = resolved(version(listed("model v1.safetensors", primary=True)))
    assert [each.path for each in web.asked] == ["/api/v1/model-versions/101"]
    assert found.url == web.url("/api/download/models/101?name=model%20v1.safetensors")
    assert (found.file_name, found.sha256) == ("model v1.safetensors", SHA)
    assert found.identity == "civitai:modelVersion/101"


def test_a_version_by_a_digest_of_one_of_its_files():
    other = listed("other.safetensors", primary=True, hashes={"SHA256": "cd" * 32})
    words = source(sha256=SHA.upper())
    found, web = resolved(version(other, listed("wanted.safetensors")), words=words)
    assert [each.path for each in web.asked] == [f"/api/v1/model-versions/by-hash/{SHA}"]
    assert found.file_name == "wanted.safetensors" and found.identity == f"civitai:sha256/{SHA}"


VAE = listed("model.vae.safetensors", type="VAE")
TWO = (listed("a.safetensors"), listed("b.safetensors"))
CHOICES = {
    "the only one": ((listed("a.safetensors"),), {}, {}, "a.safetensors"),
    "the primary one": ((TWO[0], TWO[1] | {"primary": True}), {}, {}, "b.safetensors"),
    "the one that is named": (TWO, {"fileName": "b.safetensors"}, {}, "b.safetensors"),
    "safetensors before a primary pickle": (
        (listed("a.ckpt", primary=True), listed("b.safetensors")),
        {},
        {"policy": "ScanPickle"},
        "b.safetensors",
    ),
    "a pickle, where they are taken": ((listed("a.ckpt"),), {}, {"policy": "ScanPickle"}, "a.ckpt"),
    "the model, not what is beside it": (
        (
            listed("c.yaml", type="Config"),
            listed("d.zip", type="Training Data"),
            VAE,
            listed("a.safetensors"),
        ),
        {},
        {},
        "a.safetensors",
    ),
    "the VAE of a model, where one is wanted": ((TWO[0], VAE), {}, {"file_type": "VAE"}, VAE["name"]),
    "a version that is a VAE itself": ((TWO[0],), {}, {"file_type": "VAE"}, "a.safetensors"),
}


@pytest.mark.parametrize(("files", "changes", "request_", "name"), CHOICES.values(), ids=CHOICES.keys())
def test_which_file_is_meant(files, changes, request_, name):
    words = source(modelVersionId=101, **changes)
    assert resolved(version(*files), words=words, request=wanted(**request_))[0].file_name == name


NO_CHOICE = {
    "several": (TWO, {}, errors.SOURCE_REFUSED, "fileName to one of 'a.safetensors', 'b.safetensors'"),
    "a name that is none": (TWO, {"fileName": "c"}, errors.NOT_FOUND, "no file is called 'c'"),
    "only a pickle": ((listed("a.ckpt"),), {}, errors.FORMAT_REFUSED, "spec.formatPolicy to ScanPickle"),
    "none": ((), {}, errors.NOT_FOUND, "it lists no file"),
    "no model": ((VAE,), {}, errors.NOT_FOUND, "no file is a Checkpoint"),
    "danger": (
        (listed("a.safetensors", virusScanResult="Danger"),),
        {},
        errors.SOURCE_REFUSED,
        "own scan found danger",
    ),
}


@pytest.mark.parametrize(("files", "changes", "reason", "says"), NO_CHOICE.values(), ids=NO_CHOICE.keys())
def test_what_cannot_be_chosen_lists_what_there_is(files, changes, reason, says):
    with pytest.raises(FetchError) as caught:
        resolved(version(*files), words=source(modelVersionId=101, **changes))
    assert (caught.value.reason, caught.value.retryable) == (reason, False)
    assert says in caught.value.message


def test_many_files_are_not_all_listed():
    with pytest.raises(FetchError) as caught:
        resolved(version(*(listed(f"{number}{'x' * 200}.safetensors") for number in range(50))))
    assert len(caught.value.message) < 1000 and caught.value.message.endswith(", …")


def test_what_the_catalogue_shows_of_a_version_comes_along():
    images = [
        {"url": "https://image.example.org/x/clip.mp4", "type": "video"},
        {"url": "https://image.example.org/x/width=450/7.jpeg", "type": "image"},
        {"url": "https://image.example.org/x/8.png", "type": "image"},
    ]
    document = version(listed("a.safetensors"), images=images)
    received = json.dumps(document, indent=1).encode()
    info, preview = resolved(received)[0].companions
    assert (info.suffix, info.content) == (".civitai.info", received)
    assert (preview.suffix, preview.content) == (".preview.jpeg", images[1]["url"])


def test_an_answer_of_many_small_values_takes_little_memory():
    """Laid out for people, each of them would take a line of its own."""
    document = b'{"files": [%s], "x": [%s]}' % (
        json.dumps(listed("a.safetensors")).encode(),
        b",".join([b"[]"] * 300_000),
    )
    tracemalloc.start()
    try:
        found, _ = resolved(document)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000 and len(found.companions[0].content) == len(document)


@pytest.mark.parametrize("url", ["https://image.example.org/x", "https://image.example.org/x.exe", ""])
def test_a_picture_whose_kind_is_not_told_does_not_come_along(url):
    found, _ = resolved(version(listed("a.safetensors"), images=[{"url": url}]))
    assert [each.suffix for each in found.companions] == [".civitai.info"]


def test_what_the_api_leaves_out_is_not_expected():
    spare = listed("a.safetensors", hashes=None, metadata=None)
    del spare["sizeKB"]
    assert resolved(version(spare))[0].sha256 is None


UNREADABLE = {
    "no JSON": (b"<html>", 200, errors.SERVER_ERROR, True),
    "other JSON": (b'{"files": 3}', 200, errors.SERVER_ERROR, True),
    "too much": (b" " * 1_100_000, 200, errors.SOURCE_REFUSED, False),
    "no such version": (b"{}", 404, errors.NOT_FOUND, False),
    "a bad day": (b"{}", 503, errors.SERVER_ERROR, True),
    "too often": (b"{}", 429, errors.RATE_LIMITED, True),
    "not for strangers": (b"{}", 401, errors.UNAUTHORIZED, False),
}


@pytest.mark.parametrize(
    ("body", "status", "reason", "retryable"), UNREADABLE.values(), ids=UNREADABLE.keys()
)
def test_an_api_that_does_not_describe_the_version(body, status, reason, retryable):
    with pytest.raises(FetchError) as caught:
        resolved(body, status=status)
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)


def test_a_download_that_leaves_https_or_the_web_is_refused(tmp_path):
    with pytest.raises(FetchError) as caught:
        resolved(version(listed("a.safetensors", downloadUrl="file:///etc/passwd")))
    assert caught.value.reason == errors.SOURCE_REFUSED
    issuer, pem = loopback.authority(tmp_path)
    document = json.dumps(version(listed("a.safetensors", downloadUrl="http://127.0.0.1/x"))).encode()
    with serving(Reply(body=document), pair=issuer.issue("a", ["127.0.0.1"])) as web:
        known = settings(civitai_endpoint=web.url(), ca_file=pem)
        with loopback.client(known) as client, pytest.raises(FetchError) as caught:
            sources.resolve(source(), wanted=wanted(), client=client, settings=known)
    assert caught.value.reason == errors.SOURCE_REFUSED


PAGE = Reply(200, b"<!DOCTYPE html>", {"Content-Type": "text/html; charset=utf-8"})
REFUSALS = {
    "a page to log in": (lambda web: redirect("/login?returnUrl=%2Fx", 307), False, errors.UNAUTHORIZED),
    "a page in the file's place": (lambda web: PAGE, True, errors.UNAUTHORIZED),
    "no token": (lambda web: Reply(401, b"{}"), False, errors.UNAUTHORIZED),
    "an old token": (lambda web: Reply(401, b"{}"), True, errors.UNAUTHORIZED),
    "early access": (lambda web: Reply(403, b"{}"), True, errors.FORBIDDEN),
}


@pytest.mark.parametrize(("download", "token", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_refused_downloads_mean(tmp_path, download, token, reason):
    def answer(asked):
        if asked.path.startswith("/api/v1/"):
            return Reply(body=json.dumps(version(listed("a.safetensors"))).encode())
        return PAGE if asked.path.startswith("/login") else download(web)

    with serving(answer) as web:
        if token:
            secret(tmp_path, "catalogue", host=f"127.0.0.1:{web.port}", token="t1")
        known = settings(civitai_endpoint=web.url())
        with loopback.client(known, secrets=tmp_path) as client:
            found = sources.resolve(source(), wanted=wanted(), client=client, settings=known)
            with (
                pytest.raises(FetchError) as caught,
                failing(found.identity),
                client.stream("GET", found.url) as response,
            ):
                answers.understand(response, found)
    assert (caught.value.reason, caught.value.retryable) == (reason, False)
    assert ("Secret catalogue" if token else "no Secret of spec.credentialSecrets") in caught.value.message
    assert web.asked[-1].authorization == ("Bearer t1" if token else None)


def test_a_sources_own_endpoint_is_part_of_its_name():
    words = source(modelVersionId=1, fileName="x", endpoint="https://mirror.example.org/c/")
    assert sources.identity(words) == "civitai:modelVersion/1/x at https://mirror.example.org/c"
