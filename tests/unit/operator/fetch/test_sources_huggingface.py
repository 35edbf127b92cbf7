"""Files of a Hugging Face-shaped hub: what is asked for, what it says of them, what its refusals mean."""

import pytest

from sd_operator.fetch import answers, errors, sources
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.request import Source
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import Reply, redirect, secret, serving, settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA = "ab" * 32


def source(**changes):
    words = {"repo": "org/name", "revision": "main", "path": "sub/a b.safetensors"} | changes
    return Source.model_validate({"huggingFace": words})


def resolved(web, client, **changes):
    known = settings(hf_endpoint=web.url("/"))
    return sources.resolve(source(**changes), wanted=None, client=client, settings=known)


def linked(location, **headers):
    said = {"X-Repo-Commit": COMMIT, "X-Linked-Size": "1000", "X-Linked-ETag": f'"{SHA}"'}
    return Reply(302, b"Found", {"Location": location, **said, **headers})


def test_the_hub_says_first_what_the_file_is_and_the_download_is_for_that_commit(tmp_path):
    """As the real one: a redirect to another host, which gets no token."""
    with serving(Reply(body=b"file")) as cdn, serving(linked(cdn.url("/blob?sig=s"))) as hub:
        secret(tmp_path, "hub", host=f"127.0.0.1:{hub.port}", token="hf_x")
        with loopback.client(secrets=tmp_path) as client:
            found = resolved(hub, client, revision="refs/pr/1")
            assert cdn.asked == []
            with client.stream("GET", found.url) as response:
                answer = answers.understand(response, found)
    assert (found.sha256, found.file_name) == (SHA, "a b.safetensors")
    assert found.identity == "huggingFace:org/name/sub/a b.safetensors@refs/pr/1"
    assert answer.version == COMMIT
    assert [(each.method, each.path) for each in hub.asked] == [
        ("HEAD", "/org/name/resolve/refs%2Fpr%2F1/sub/a%20b.safetensors"),
        ("GET", f"/org/name/resolve/{COMMIT}/sub/a%20b.safetensors"),
    ]
    assert [each.authorization for each in hub.asked + cdn.asked] == ["Bearer hf_x"] * 2 + [None]


@pytest.mark.parametrize("etag", [f'W/"{"ab" * 20}"', f'"{"ab" * 20}"', "", '"' + "AB" * 32 + '"'])
def test_an_etag_that_is_no_sha256_is_no_expectation(etag):
    reply = linked("http://cdn.invalid/", **{"X-Linked-ETag": etag})
    with serving(reply) as hub, loopback.client() as client:
        assert resolved(hub, client).sha256 is None


@pytest.mark.parametrize("reply", [Reply(405), Reply(501), Reply(200), Reply(401), Reply(404)])
def test_a_mirror_that_says_nothing_first_is_asked_for_the_file_as_it_is_named(reply):
    with serving(reply) as hub, loopback.client() as client:
        found = resolved(hub, client)
    assert found.url == hub.url("/org/name/resolve/main/sub/a%20b.safetensors")
    assert found.sha256 is None


def test_a_renamed_repository_is_followed_on_the_same_host():
    def answer(asked):
        if asked.path.startswith("/org/"):
            return redirect(asked.path.replace("/org/", "/neworg/"), 307)
        return linked("http://cdn.invalid/")

    with serving(answer) as hub, loopback.client() as client:
        assert resolved(hub, client).sha256 == SHA


def test_a_redirect_elsewhere_is_no_rename_and_gets_no_token(tmp_path):
    with serving(Reply()) as other, serving(redirect(other.url("/x"), 307)) as hub:
        secret(tmp_path, "hub", host=f"127.0.0.1:{hub.port} 127.0.0.1:{other.port}", token="hf_x")
        with loopback.client(secrets=tmp_path) as client:
            assert resolved(hub, client).sha256 is None
    assert other.asked == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_hub_with_a_bad_moment_is_asked_again_for_what_the_file_is(status):
    """What it says of the file's bytes must not be lost, or any bytes would do."""
    with serving(Reply(status)) as hub, loopback.client() as client, pytest.raises(FetchError) as caught:
        resolved(hub, client)
    assert caught.value.retryable and f"answered {status}" in caught.value.message


def test_a_hub_that_is_not_there_or_may_not_be_asked_is_named():
    with serving(Reply()) as hub:
        pass
    for known, reason, retryable in (
        (settings(), errors.CONNECTION_FAILED, True),
        (settings(allowed_networks=""), errors.ADDRESS_REFUSED, False),
    ):
        with loopback.client(known) as client, pytest.raises(FetchError) as caught:
            resolved(hub, client)
        assert (caught.value.reason, caught.value.retryable) == (reason, retryable)


def test_a_sources_own_endpoint_goes_before_the_settings_and_is_part_of_its_name():
    with serving(linked("http://cdn.invalid/")) as mirror, loopback.client() as client:
        words = source(endpoint=mirror.url("/hf/"))
        found = sources.resolve(words, wanted=None, client=client, settings=settings())
    assert mirror.asked[0].path.startswith("/hf/org/name/resolve/")
    assert found.identity == sources.identity(words)
    assert found.identity.endswith(f"@main at {mirror.url('/hf')}")


REFUSALS = {
    "no token, private or absent": (
        401,
        "RepoNotFound",
        False,
        errors.UNAUTHORIZED,
        "or is private or gated",
    ),
    "no token, gated": (401, "GatedRepo", False, errors.UNAUTHORIZED, "must accept its terms there"),
    "a token that is none": (401, "", True, errors.UNAUTHORIZED, "credentials of Secret hub; renew"),
    "terms not accepted": (403, "GatedRepo", True, errors.FORBIDDEN, "must accept its terms there"),
    "another right": (403, "", True, errors.FORBIDDEN, "credentials of Secret hub have no right"),
    "not seen with the token": (404, "RepoNotFound", True, errors.NOT_FOUND, "may not be seen with these"),
    "no such file": (404, "EntryNotFound", False, errors.NOT_FOUND, "source.huggingFace.path"),
    "no such revision": (404, "RevisionNotFound", False, errors.NOT_FOUND, "source.huggingFace.revision"),
    "a mirror's 404": (404, "", False, errors.NOT_FOUND, "repo, revision and path"),
    "disabled": (403, "DisabledRepo", False, errors.FORBIDDEN, "has disabled the repository"),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_the_hubs_refusals_mean(tmp_path, case):
    status, code, token, reason, says = case
    reply = Reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "secret words"})
    with serving(reply) as hub:
        if token:
            secret(tmp_path, "hub", host=f"127.0.0.1:{hub.port}", token="hf_x")
        with loopback.client(secrets=tmp_path) as client:
            error = refused(client, resolved(hub, client))
    assert (error.reason, error.retryable) == (reason, False)
    assert says in error.message and "hf_x" not in error.message
    if not token and status == 401:
        place = f"127.0.0.1:{hub.port}"
        assert f"no Secret of spec.credentialSecrets has some for the host {place}; add" in error.message


def refused(client, location):
    with (
        pytest.raises(FetchError) as caught,
        failing(location.identity),
        client.stream("GET", location.url) as response,
    ):
        answers.understand(response, location)
    return caught.value


def test_the_storage_behind_the_hub_speaks_for_itself():
    with (
        serving(Reply(403)) as cdn,
        serving(linked(cdn.url("/x?Signature=s", host="cdn.example.org"))) as hub,
        loopback.client(resolver=loopback.at_loopback()) as client,
    ):
        error = refused(client, resolved(hub, client))
    assert (error.reason, error.retryable) == (errors.FORBIDDEN, True)
    assert "redirected to cdn.example.org" in error.message and "Signature" not in error.message


def test_the_hubs_quota_says_when_it_is_there_again():
    reply = Reply(429, headers={"RateLimit": '"resolvers";r=0;t=37'})
    with serving(reply) as hub, loopback.client() as client, pytest.raises(FetchError) as caught:
        resolved(hub, client)
    error = caught.value
    assert (error.reason, error.retryable, error.retry_after) == (errors.RATE_LIMITED, True, 37.0)
