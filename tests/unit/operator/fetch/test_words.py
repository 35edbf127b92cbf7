"""The request and the settings as they come in, and the verdict as it goes out."""

import json
import struct
import tracemalloc

import pytest

from sd_operator.fetch import gate, request, settings, sources, verdict
from sd_operator.fetch.errors import FetchError, of_claim, of_volume
from sd_operator.fetch.patience import Patience, persist
from sd_operator.fetch.request import FormatPolicy, Http, Source
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.sources import location
from sd_operator.fetch.verdict import Verified

URL = "https://host/a/model.safetensors"
SHA = "ab" * 32


def words(policy="SafetensorsOnly", source=None, **changes):
    file = {"name": "base", "type": "Checkpoint", "sources": [source or {"http": {"url": URL}}]} | changes
    return json.dumps({"bundle": "b", "formatPolicy": policy, "file": file})


def hub(**changes):
    return {"huggingFace": {"repo": "org/name", "revision": "main", "path": "a.safetensors"} | changes}


def civitai(**changes):
    return {"civitai": changes}


def s3(**changes):
    return {"s3": {"bucket": "models", "key": "a.safetensors"} | changes}


def volume(**changes):
    return {"volume": {"claimName": "claim", "path": "a.safetensors"} | changes}


def test_a_request_is_read():
    found = request.parse(words(sha256=SHA.upper(), fileName="x.safetensors", family="SD21"))
    assert found.sources == (Source(http=Http(url=URL)),)
    assert (found.file.family, found.file.sha256, found.file.file_name) == ("SD21", SHA, "x.safetensors")
    assert found.format_policy is FormatPolicy.SAFETENSORS_ONLY


def test_absent_fields_may_be_null():
    found = request.parse(
        words(sha256=None, fileName=None, source={"http": {"url": URL}, "huggingFace": None})
    )
    assert found.file.sha256 is None and found.file.file_name is None


def test_mirrors_follow_the_source_in_order():
    text = words(sources=[{"http": {"url": URL}}, hub(), civitai(modelVersionId=7), s3(), volume()])
    assert [sources.identity(each) for each in request.parse(text).sources] == [
        URL,
        "huggingFace:org/name/a.safetensors@main",
        "civitai:modelVersion/7",
        "s3://models/a.safetensors",
        "volume:claim/a.safetensors",
    ]


WRONG = {
    "two sources": ({"source": {"http": {"url": URL}, **hub()}}, "file.sources.0: Value error, exactly one"),
    "no kind of source": ({"source": {"ftp": {}}}, "file.sources.0.ftp"),
    "none of them": ({"sources": [{}]}, "exactly one of http, huggingFace, civitai, s3, volume"),
    "no source": ({"sources": []}, "file.sources"),
    "no web address": ({"source": {"http": {"url": "file:///etc/passwd"}}}, "http:// or https://"),
    "an ambiguous address": ({"source": {"http": {"url": "http://0177.0.0.1/a"}}}, "sources.0.http.url"),
    "a port that is none": ({"source": {"http": {"url": "https://h:99999/a"}}}, "sources.0.http.url"),
    "a password": (
        {"source": {"http": {"url": "https://me:secret@h/a.safetensors"}}},
        "user name or password",
    ),
    "a repository that climbs": ({"source": hub(repo="../x")}, "huggingFace.repo"),
    "a path that climbs": ({"source": hub(path="a/../b.safetensors")}, "huggingFace.path"),
    "a rooted path": ({"source": hub(path="/a.safetensors")}, "huggingFace.path"),
    "no revision": ({"source": hub(revision="")}, "huggingFace.revision"),
    "an endpoint with a query": ({"source": hub(endpoint="https://h/?token=secret")}, "huggingFace.endpoint"),
    "an endpoint with a password": ({"source": s3(endpoint="https://me:secret@h")}, "s3.endpoint"),
    "a version and a digest": ({"source": civitai(modelVersionId=1, sha256=SHA)}, "modelVersionId, sha256"),
    "neither": ({"source": civitai(fileName="a")}, "modelVersionId, sha256"),
    "version nought": ({"source": civitai(modelVersionId=0)}, "civitai.modelVersionId"),
    "a bucket with a folder": ({"source": s3(bucket="a/b")}, "s3.bucket"),
    "a key that climbs": ({"source": s3(key="a/../b")}, "s3.key"),
    "a claim that climbs": ({"source": volume(claimName="..")}, "volume.claimName"),
    "a path out of the claim": ({"source": volume(path="../x")}, "volume.path"),
    "a rooted path in a claim": ({"source": volume(path="/x")}, "volume.path"),
    "a path with a null": ({"source": volume(path="x\0y")}, "volume.path"),
    "a file name with a folder": ({"fileName": "a/b.safetensors"}, "file.fileName"),
    "a hidden file name": ({"fileName": ".x.safetensors"}, "file.fileName"),
    "only a suffix": ({"fileName": ".safetensors"}, "file.fileName"),
    "a long file name": ({"fileName": "x" * 200 + ".safetensors"}, "file.fileName"),
    "another suffix": ({"fileName": "x.ckpt"}, "file.fileName"),
    "a pickle's name for what becomes safetensors": (
        {"fileName": "x.ckpt", "policy": "ScanPickle"},
        "fileName",
    ),
    "a suffix that is none of a model": ({"fileName": "x.exe", "policy": "Unsafe"}, "file.fileName"),
    "a short hash": ({"sha256": "abc"}, "file.sha256"),
    "a name that climbs": ({"name": "../x"}, "file.name"),
    "another type": ({"type": "Sticker"}, "file.type"),
    "another family": ({"family": "SD3"}, "file.family"),
    "another policy": ({"policy": "Everything"}, "formatPolicy"),
    "a field too many": ({"colour": "red"}, "file.colour"),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_field_is_named_and_no_secret_is_repeated(changes, says):
    with pytest.raises(FetchError) as caught:
        request.parse(words(**changes))
    assert (caught.value.reason, caught.value.retryable) == ("InvalidRequest", False)
    assert says in caught.value.message and "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["", " ", "{", "[]", "null", '{"bundle": 1}', "[" * 100_000])
def test_what_is_no_request_is_refused(text):
    with pytest.raises(FetchError, match="SD_FETCH_FILE"):
        request.parse(text)
    with pytest.raises(FetchError, match="SD_FETCH_UPKEEP"):
        request.parse_upkeep(text)


def test_what_to_look_after_is_read():
    expected = {"name": "base", "path": "models/VAE/a.safetensors", "sha256": SHA}
    gone = [expected | {"name": "old"}, {"name": "older", "path": "models/VAE/b.safetensors", "sha256": ""}]
    found = request.parse_upkeep(
        json.dumps({"bundle": "b", "verify": True, "expect": [expected], "remove": gone})
    )
    assert (found.bundle, found.verify) == ("b", True)
    assert [(each.name, each.sha256) for each in found.remove] == [("old", SHA), ("older", "")]
    assert (found.expect[0].name, found.expect[0].path) == ("base", "models/VAE/a.safetensors")
    for wrong in ("/etc/passwd", "models/../../x", ""):
        with pytest.raises(FetchError, match=r"expect\.0\.path"):
            request.parse_upkeep(json.dumps({"bundle": "b", "expect": [expected | {"path": wrong}]}))


@pytest.mark.parametrize(
    ("policy", "given", "implied", "name"),
    [
        ("SafetensorsOnly", None, "model v1.safetensors", "model v1.safetensors"),
        ("SafetensorsOnly", "x.safetensors", "download", "x.safetensors"),
        ("SafetensorsOnly", None, "a.b.safetensors", "a.b.safetensors"),
        ("ScanPickle", None, "a.safetensors", "a.safetensors"),
        ("ScanPickle", None, "a.v1.ckpt", "a.v1.safetensors"),
        ("ScanPickle", None, "a.pt", "a.safetensors"),
        ("ScanPickle", None, "a.pth", "a.safetensors"),
        ("ScanPickle", None, "a.bin", "a.safetensors"),
        ("ScanPickle", "x.safetensors", "a.ckpt", "x.safetensors"),
        ("Unsafe", None, "a.safetensors", "a.safetensors"),
        ("Unsafe", None, "a.ckpt", "a.ckpt"),
        ("Unsafe", None, "a.bin", "a.bin"),
        ("Unsafe", "x.pt", "a.ckpt", "x.pt"),
    ],
)
def test_the_file_is_called_as_asked_or_as_its_source_calls_it(policy, given, implied, name):
    found = request.parse(words(policy, fileName=given))
    assert request.file_name(found.file, implied, policy=found.format_policy) == name


@pytest.mark.parametrize("policy", list(FormatPolicy))
@pytest.mark.parametrize(
    "implied",
    [
        "",
        "download",
        "..",
        "a/b.safetensors",
        ".safetensors",
        ".ckpt",
        "é.safetensors",
        "x" * 300 + ".safetensors",
    ],
)
def test_a_name_that_cannot_be_used_asks_for_another(policy, implied):
    with pytest.raises(FetchError, match="set fileName") as caught:
        request.file_name(request.parse(words()).file, implied, policy=policy)
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("implied", ["a.ckpt", "a b.pt", "é.pth", "x" * 300 + ".bin"])
def test_a_pickles_name_where_pickles_are_not_taken_tells_how_they_are(implied):
    with pytest.raises(FetchError, match=r"set spec\.formatPolicy to ScanPickle") as caught:
        request.file_name(request.parse(words()).file, implied, policy=FormatPolicy.SAFETENSORS_ONLY)
    assert (caught.value.reason, caught.value.retryable) == ("FormatRefused", False)
    assert len(caught.value.message) < 600


def resolved(url):
    source = Source(http=Http(url=url))
    return sources.resolve(source, wanted=None, client=None, settings=None)


def test_a_web_address_is_kept_and_its_query_is_not_shown():
    one = resolved("https://h:8443/a/b%20c.safetensors?token=secret")
    other = resolved("https://h:8443/a/b%20c.safetensors?token=other")
    assert one.url.endswith("?token=secret") and one.file_name == "b c.safetensors"
    assert one.identity.startswith("https://h:8443/a/b%20c.safetensors#query-")
    assert "secret" not in one.identity and one.identity != other.identity


def test_a_recorded_source_is_known_again_whatever_its_version():
    for version in (None, "4f1c"):
        assert location.is_recorded("hub:a@main", location.recorded("hub:a@main", version))
    assert not location.is_recorded("hub:a@main", "hub:a@main2")


ENVIRONMENT = {
    "SD_FETCH_FILE": "{}",
    "SD_FETCH_UPKEEP": "{}",
    "SD_FETCH_ROOT": "/v",
    "SD_FETCH_SOURCES": "/s",
    "SD_FETCH_CREDENTIALS": "/c",
    "HF_ENDPOINT": "https://hub.example.org/",
    "CIVITAI_ENDPOINT": "https://civitai.example.org",
    "HTTP_PROXY": "proxy.example.org:3128",
    "HTTPS_PROXY": "https://me:secret@proxy.example.org",
    "NO_PROXY": ".svc, 10.0.0.0/8,",
    "SD_FETCH_CA_FILE": "/ca.crt",
    "SD_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8, ::1/128",
    "SD_FETCH_REFUSED_NETWORKS": "10.96.0.0/12",
    "SD_FETCH_CONNECTIONS": "8",
    "SD_FETCH_PORT": "0",
    "SD_FETCH_TOKEN_SHA256": SHA,
    "SD_LOG_LEVEL": "DEBUG",
}


@pytest.fixture
def environment(monkeypatch):
    """This process's environment, without what a fetch reads."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_every_variable_is_read(environment):
    for name, value in ENVIRONMENT.items():
        environment.setenv(name, value)
    found = settings.read()
    assert {field.validation_alias for field in Settings.model_fields.values()} == ENVIRONMENT.keys()
    assert found.hf_endpoint == "https://hub.example.org"
    assert found.http_proxy == "http://proxy.example.org:3128"
    assert found.no_proxy == (".svc", "10.0.0.0/8")
    assert [str(network) for network in found.allowed_networks] == ["127.0.0.0/8", "::1/128"]
    assert (found.connections, found.port, found.token_sha256) == (8, 0, SHA)
    assert "secret" not in repr(found)


def test_what_is_not_set_or_empty_has_its_default(environment):
    for name in ("HF_ENDPOINT", "HTTP_PROXY", "SD_FETCH_PORT", "SD_FETCH_TOKEN_SHA256", "NO_PROXY"):
        environment.setenv(name, "")
    environment.setenv("http_proxy", "http://elsewhere")
    found = settings.read()
    assert (found.hf_endpoint, found.civitai_endpoint) == ("https://huggingface.co", "https://civitai.com")
    assert (found.http_proxy, found.port, found.connections, found.no_proxy) == (None, 9091, 4, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_ENDPOINT", "hub.example.org"),
        ("CIVITAI_ENDPOINT", "https://me:secret@civitai.example.org"),
        ("HTTPS_PROXY", "socks5://me:secret@proxy"),
        ("HTTP_PROXY", "http://me:secret@:80"),
        ("HTTP_PROXY", "http://me:secret@proxy:99999"),
        ("SD_FETCH_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("SD_FETCH_REFUSED_NETWORKS", "10.0.0.0/8;11.0.0.0/8"),
        ("SD_FETCH_CONNECTIONS", "0"),
        ("SD_FETCH_PORT", "65536"),
        ("SD_FETCH_TOKEN_SHA256", "secret"),
        ("SD_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_variable_that_is_wrong_is_named_and_no_secret_is_repeated(environment, name, value):
    environment.setenv(name, value)
    with pytest.raises(FetchError, match=f"the environment: {name}") as caught:
        settings.read()
    assert caught.value.reason == "InvalidRequest" and "secret" not in caught.value.message


def waits_of(failures, patience):
    """The waits between attempts that fail so, and whether the last one is raised."""
    waits: list[float] = []
    left = list(failures)

    def attempt():
        if left:
            raise left.pop(0)

    try:
        persist(attempt, progress=lambda: 0, patience=patience, sleep=waits.append)
    except FetchError:
        return waits, True
    return waits, False


def test_waits_grow_to_a_bound_and_are_never_shorter_than_asked():
    failures = [FetchError("X", "", retryable=True) for _ in range(4)]
    failures.append(FetchError("X", "", retryable=True, retry_after=50.0))
    waits, failed = waits_of(failures, Patience(attempts=9, first_wait=1.0, longest_wait=4.0))
    assert not failed
    for wait, longest in zip(waits, [1.0, 2.0, 4.0, 4.0], strict=False):
        assert longest / 2 <= wait <= longest
    assert 50.0 <= waits[4] <= 54.0


def test_patience_ends():
    failures = [FetchError("X", "", retryable=True) for _ in range(9)]
    waits, failed = waits_of(failures, Patience(attempts=3))
    assert failed and len(waits) == 2


@pytest.mark.parametrize(
    "failure",
    [
        FetchError("X", ""),
        FetchError("Interrupted", "", retryable=True),
        FetchError("NoSpace", "", retryable=True),
    ],
)
def test_what_no_retry_changes_is_not_retried(failure):
    assert waits_of([failure], Patience()) == ([], True)


def test_a_verdict_fits_the_termination_log_whatever_it_says():
    for text in ("x" * 10_000, '\u4e16\U0001f5bc"\\\0' * 5_000):
        encoded = verdict.encode(FetchError("ServerError", text, retryable=True))
        assert len(encoded) <= verdict.MAX_BYTES
        told = json.loads(encoded)
        assert (told["state"], told["reason"], told["retryable"]) == ("Failed", "ServerError", True)


def test_exit_codes():
    good = Verified(path="p", size=1, sha256="s", type="Checkpoint", family="SD15", source="x")
    assert [
        verdict.exit_code(each) for each in (good, FetchError("X", "", retryable=True), FetchError("X", ""))
    ] == [0, 1, 2]


@pytest.mark.parametrize(
    ("number", "reason", "retryable"),
    [
        (28, "NoSpace", True),
        (122, "NoSpace", True),
        (30, "VolumeError", False),
        (13, "VolumeError", False),
        (5, "VolumeError", True),
        (116, "VolumeUnreachable", True),
        (107, "VolumeUnreachable", True),
    ],
)
def test_an_error_of_the_volume_has_a_reason(number, reason, retryable):
    found = of_volume(OSError(number, "strerror", "/volume/x"))
    assert (found.reason, found.retryable) == (reason, retryable)
    assert "/volume/x" in found.message


def test_the_longest_header_that_is_read_takes_little_memory_even_with_a_wide_letter():
    around = len(b'{"__metadata__":{"a":""}}') + 4
    note = "\U0001f600" + "x" * (gate.MAX_HEADER_BYTES - around)
    raw = f'{{"__metadata__":{{"a":"{note}"}}}}'.encode()
    head = struct.pack("<Q", len(raw)) + raw
    assert gate.needed(head) == len(head)
    file = request.parse(words()).file
    del note
    tracemalloc.start()
    try:
        with pytest.raises(FetchError, match="it has no tensor"):
            gate.judge(head, file=file, policy=FormatPolicy.SAFETENSORS_ONLY, name="a.safetensors")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 45 * 1024 * 1024
    with pytest.raises(FetchError, match="at most"):
        gate.needed(struct.pack("<Q", len(raw) + 1) + raw)


@pytest.mark.parametrize(
    ("number", "reason", "retryable"),
    [
        (2, "NotFound", False),
        (20, "NotFound", False),
        (13, "Forbidden", False),
        (5, "VolumeUnreachable", True),
        (116, "VolumeUnreachable", True),
    ],
)
def test_an_error_of_another_claim_is_the_sources(number, reason, retryable):
    found = of_claim(OSError(number, "strerror", "/sources/x"), "volume:models/x")
    assert (found.reason, found.retryable) == (reason, retryable)
    assert found.message.startswith("volume:models/x: ")
