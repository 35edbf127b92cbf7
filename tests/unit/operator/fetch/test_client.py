"""The client: what it sends to whom, and where it lets itself be redirected."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sd_operator.fetch import errors
from sd_operator.fetch.network.client import secret_of
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import (
    Reply,
    at_loopback,
    failure,
    redirect,
    secret,
    serving,
    settings,
)


@pytest.fixture
def authority(tmp_path):
    return loopback.authority(tmp_path)


# --- what is sent ------------------------------------------------------------------------------------------


def test_a_file_is_asked_for_as_it_is_and_nothing_is_kept_between_answers():
    with serving(Reply(headers={"Set-Cookie": "session=1; Path=/"})) as web, loopback.client() as client:
        for _ in range(2):
            client.get(web.url())
    for asked in web.asked:
        assert asked.headers["accept-encoding"] == "identity"
        assert not {"cookie", "authorization"} & asked.headers.keys()


def test_several_threads_share_connections():
    with (
        serving(Reply(body=b"x" * 1000)) as web,
        loopback.client() as client,
        ThreadPoolExecutor(8) as pool,
    ):
        found = list(pool.map(lambda _: client.get(web.url()).content, range(40)))
    assert found == [b"x" * 1000] * 40


def test_the_environment_of_the_process_is_not_asked(monkeypatch):
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    with serving(Reply(body=b"file")) as web, loopback.client() as client:
        assert client.get(web.url()).content == b"file"


# --- credentials -------------------------------------------------------------------------------------------


def test_a_host_gets_the_credentials_of_its_secret_and_no_other(tmp_path):
    with serving(Reply()) as one, serving(Reply()) as other:
        secret(tmp_path, "hub", host=f"127.0.0.1:{one.port}", token="t1\n")
        with loopback.client(secrets=tmp_path) as client:
            assert secret_of(client.get(one.url())) == "hub"
            assert secret_of(client.get(other.url())) is None
    assert one.asked[0].authorization == "Bearer t1"
    assert other.asked[0].authorization is None


def test_a_redirect_takes_no_credentials_along_and_brings_them_back_home(tmp_path):
    """A named host, then one that no Secret names, then the named one again."""
    steps = {"/": "/elsewhere", "/back": ""}
    with serving(lambda asked: redirect(home.url("/back"))) as elsewhere:

        def answer(asked):
            return redirect(elsewhere.url("/x")) if steps.get(asked.path) else Reply(body=b"file")

        with serving(answer) as home:
            secret(tmp_path, "hub", host=f"127.0.0.1:{home.port}", token="t1")
            with loopback.client(secrets=tmp_path) as client:
                response = client.get(home.url("/"), headers={"Range": "bytes=5-"})
    assert response.content == b"file" and secret_of(response) == "hub"
    assert [each.authorization for each in home.asked] == ["Bearer t1", "Bearer t1"]
    assert [each.authorization for each in elsewhere.asked] == [None]
    assert elsewhere.asked[0].headers["range"] == "bytes=5-"


def test_a_redirect_over_plain_http_brings_no_credentials_to_another_host_even_if_it_is_named(tmp_path):
    with serving(Reply()) as named, serving(redirect(named.url(host="named.example.org"))) as web:
        secret(tmp_path, "other", host=f"named.example.org:{named.port}", token="t1")
        with loopback.client(secrets=tmp_path, resolver=at_loopback()) as client:
            client.get(web.url(host="first.example.org"))
            client.get(named.url(host="named.example.org"))
    assert [each.authorization for each in named.asked] == [None, "Bearer t1"]


def test_a_redirect_over_https_to_a_named_host_brings_that_hosts_own(tmp_path, authority):
    issuer, pem = authority
    pair = issuer.issue("both", ["one.example.org", "two.example.org"])
    with (
        serving(Reply(), pair=pair) as two,
        serving(redirect(two.url(host="two.example.org")), pair=pair) as one,
        loopback.client(settings(ca_file=pem), secrets=tmp_path / "s", resolver=at_loopback()) as client,
    ):
        secret(tmp_path / "s", "one", host=f"one.example.org:{one.port}", token="t1")
        secret(tmp_path / "s", "two", host=f"two.example.org:{two.port}", username="me", password="pä:ss")
        client.get(one.url(host="one.example.org"))
    assert one.asked[0].authorization == "Bearer t1"
    assert two.asked[0].authorization == "Basic bWU6cMOkOnNz"


def test_a_rotated_secret_is_read_anew(tmp_path):
    with serving(Reply()) as web:
        secret(tmp_path, "hub", host=f"127.0.0.1:{web.port}", token="old")
        with loopback.client(secrets=tmp_path) as client:
            client.get(web.url())
            (tmp_path / "hub/token").write_text("new")
            client.get(web.url())
    assert [each.authorization for each in web.asked] == ["Bearer old", "Bearer new"]


def test_a_malformed_secret_stops_a_request_before_it_is_sent(tmp_path):
    secret(tmp_path, "hub", token="t1")
    with serving(Reply()) as web, loopback.client(secrets=tmp_path) as client:
        error = failure(client, web.url())
    assert error.reason == errors.CREDENTIAL_INVALID and "Secret hub has no key host" in error.message
    assert web.asked == []


# --- redirects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["/b/file", "file", "?x=1", "../a/file", "//{host}/file", "{url}file"])
def test_redirects_are_followed_however_they_are_written(location):
    def answer(asked):
        if asked.path == "/a/b":
            return redirect(location.format(host=f"127.0.0.1:{web.port}", url=web.url()))
        return Reply(body=b"file")

    with serving(answer) as web, loopback.client() as client:
        response = client.get(web.url("/a/b"))
    assert response.content == b"file"
    assert len(web.asked) == 2


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:70/x"])
def test_a_redirect_to_another_scheme_is_not_followed(location):
    with serving(redirect(location)) as web, loopback.client() as client:
        error = failure(client, web.url())
    assert (error.reason, error.retryable) == (errors.SOURCE_REFUSED, False)


def test_a_redirect_from_https_to_http_is_not_followed(authority):
    issuer, pem = authority
    with (
        serving(Reply()) as plain,
        serving(redirect(plain.url("/x?signature=s")), pair=issuer.issue("a", ["127.0.0.1"])) as web,
        loopback.client(settings(ca_file=pem)) as client,
    ):
        error = failure(client, web.url())
    assert error.reason == errors.SOURCE_REFUSED and plain.asked == []
    assert "from https to http://127.0.0.1" in error.message and "signature" not in error.message


def test_https_is_kept_once_a_redirect_has_led_to_it(authority):
    issuer, pem = authority
    with (
        serving(Reply()) as plain,
        serving(redirect(plain.url()), pair=issuer.issue("a", ["127.0.0.1"])) as secure,
        serving(redirect(secure.url())) as first,
        loopback.client(settings(ca_file=pem)) as client,
    ):
        error = failure(client, first.url())
    assert error.reason == errors.SOURCE_REFUSED and plain.asked == [] and len(secure.asked) == 1


def test_a_certificate_is_held_against_the_host_of_its_own_hop(tmp_path, authority):
    """Not against the one that redirected, whose name ended in a dot."""
    issuer, pem = authority
    pair = issuer.issue("evil", ["evil.example.org"])
    with (
        serving(Reply(), pair=pair) as impostor,
        serving(redirect(impostor.url(host="hub.example.org")), pair=pair) as first,
        loopback.client(settings(ca_file=pem), secrets=tmp_path / "s", resolver=at_loopback()) as client,
    ):
        secret(tmp_path / "s", "hub", host=f"hub.example.org:{impostor.port}", token="t1")
        error = failure(client, first.url(host="evil.example.org."))
    assert (error.reason, error.retryable) == (errors.TLS, False)
    assert len(first.asked) == 1 and impostor.asked == []


@pytest.mark.parametrize("host", ["a" * 64 + ".example.org", "a..example.org", ".example.org", "a." * 130])
def test_a_redirect_to_a_host_that_dns_cannot_have_is_not_followed(host):
    with serving(redirect(f"https://{host}/file")) as web, loopback.client() as client:
        error = failure(client, web.url())
    assert (error.reason, error.retryable) == (errors.DNS, False)
    assert "no name of a host" in error.message and len(error.message) < 300


def test_redirects_in_a_circle_end():
    with serving(redirect("/again")) as web, loopback.client() as client:
        error = failure(client, web.url())
    assert (error.reason, error.retryable, len(web.asked)) == (errors.SOURCE_REFUSED, False, 11)


def test_the_body_of_a_redirect_is_not_taken_into_memory():
    def answer(asked):
        if asked.path == "/":
            return Reply(302, b"x" * 1_000_000, {"Location": "/file", "Content-Encoding": "gzip"})
        return Reply(body=b"file")

    with serving(answer) as web, loopback.client() as client:
        response = client.get(web.url())
    assert response.content == b"file" and response.history[0].content == b""


def test_a_host_in_another_script_is_named_as_dns_has_it(tmp_path):
    with serving(Reply()) as web:
        secret(tmp_path, "books", host=f"xn--bcher-kva.example.org:{web.port}", token="t1")
        with loopback.client(secrets=tmp_path, resolver=at_loopback()) as client:
            client.get(web.url(host="bücher.example.org"))
    assert web.asked[0].authorization == "Bearer t1"
