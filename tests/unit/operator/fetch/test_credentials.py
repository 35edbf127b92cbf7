"""Secrets as files: for which hosts they are, how they rotate, and what is said of those of no use."""

import threading

import pytest

from sd_operator.fetch import errors
from sd_operator.fetch.credentials import Credentials
from sd_operator.fetch.errors import FetchError
from tests.unit.operator.fetch.loopback import secret
from tests.unit.operator.unprivileged import unprivileged

VALUE = "s3cr3t"


def found(root, host="models.example.org", port=None, scheme="https"):
    credential = Credentials(root).find(scheme, host, port)
    return credential.secret if credential is not None else None


def test_without_secrets_there_are_no_credentials(tmp_path):
    assert found(tmp_path / "nothing") is None
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"token": VALUE}, f"Bearer {VALUE}"),
        ({"token": f"  {VALUE}\n"}, f"Bearer {VALUE}"),
        ({"username": "me", "password": "p:w"}, "Basic bWU6cDp3"),
        ({"accessKeyId": "A", "secretAccessKey": VALUE}, None),
        ({"accessKeyId": "A", "secretAccessKey": VALUE, "sessionToken": "t", "region": "eu-west-1"}, None),
    ],
)
def test_the_ways_to_authorize(tmp_path, keys, header):
    secret(tmp_path, "one", host="models.example.org", **keys)
    credential = Credentials(tmp_path).find("https", "models.example.org")
    assert credential.header() == header
    assert dict(credential.values) == {key: value.strip() for key, value in keys.items()}
    assert VALUE not in repr(credential)


def test_a_folder_of_secrets_that_cannot_be_read_is_no_fault_of_the_volumes(tmp_path):
    (tmp_path / "credentials").write_text("no folder")
    with pytest.raises(FetchError, match=r"spec\.credentialSecrets cannot be read") as caught:
        found(tmp_path / "credentials")
    assert (caught.value.reason, caught.value.retryable) == (errors.CREDENTIAL_INVALID, False)


@pytest.mark.parametrize("folder", [".", "one"])
def test_a_secret_that_may_not_be_read_is_named(tmp_path, folder):
    secret(tmp_path, "one", host="models.example.org", token=VALUE)
    with unprivileged(tmp_path):
        assert found(tmp_path) == "one"
        (tmp_path / folder).chmod(0)
        try:
            with pytest.raises(FetchError, match="cannot be read: Permission denied") as caught:
                found(tmp_path)
        finally:
            (tmp_path / folder).chmod(0o700)
    assert caught.value.reason == errors.CREDENTIAL_INVALID


def test_keys_that_mean_nothing_here_are_left_alone(tmp_path):
    secret(tmp_path, "one", host="models.example.org", token=VALUE, **{"README": "\0", "tls.crt": "x"})
    assert found(tmp_path) == "one"


@pytest.mark.parametrize(
    ("hosts", "scheme", "host", "port", "matches"),
    [
        ("models.example.org", "https", "models.example.org", None, True),
        ("models.example.org", "http", "models.example.org", None, True),
        ("models.example.org", "https", "models.example.org", 443, True),
        ("models.example.org", "https", "models.example.org", 8443, False),
        ("Models.Example.ORG.", "https", "mODELS.example.org", None, True),
        ("models.example.org", "https", "models.example.org.", None, True),
        ("models.example.org:443", "https", "models.example.org", None, True),
        ("models.example.org:443", "http", "models.example.org", None, False),
        ("models.example.org:80", "http", "models.example.org", None, True),
        ("models.example.org:8443", "https", "models.example.org", 8443, True),
        ("models.example.org:8443", "https", "models.example.org", None, False),
        ("example.org", "https", "models.example.org", None, False),
        ("models.example.org", "https", "example.org", None, False),
        (
            "a.org, b.org\n  models.example.org:1\nmodels.example.org\n",
            "https",
            "models.example.org",
            None,
            True,
        ),
        ("127.0.0.1:8080", "http", "127.0.0.1", 8080, True),
        ("[::1]:8080", "http", "::1", 8080, True),
        ("[::1]", "https", "::1", None, True),
        ("my_minio:9000", "http", "my_minio", 9000, True),
    ],
)
def test_a_secret_is_for_the_hosts_it_names_and_no_other(tmp_path, hosts, scheme, host, port, matches):
    secret(tmp_path, "one", host=hosts, token=VALUE)
    assert found(tmp_path, host, port, scheme) == ("one" if matches else None)


def complaint(root):
    with pytest.raises(FetchError) as caught:
        Credentials(root).find("https", "unrelated.example.org")
    assert (caught.value.reason, caught.value.retryable) == (errors.CREDENTIAL_INVALID, False)
    assert VALUE not in caught.value.message
    return caught.value.message


HOST = {"host": "models.example.org"}
MALFORMED = {
    "nothing at all": ({}, "Secret bad has no key host"),
    "no host": ({"token": VALUE}, "Secret bad has no key host"),
    "an empty host": ({"host": " \n", "token": VALUE}, "key host is empty"),
    "only commas": ({"host": ",", "token": VALUE}, "key host must hold hosts"),
    "an address": ({"host": "https://models.example.org/", "token": VALUE}, "key host must hold hosts"),
    "a wildcard": ({"host": "*.example.org", "token": VALUE}, "without a scheme, a path or a wildcard"),
    "a port that is none": ({"host": "models.example.org:99999", "token": VALUE}, "key host must hold hosts"),
    "the token as host": ({"host": f"{VALUE}=", "token": "x"}, "key host must hold hosts"),
    "no credentials": (HOST, "token, or username and password, or accessKeyId and secretAccessKey"),
    "two kinds": (HOST | {"token": VALUE, "username": "me", "password": VALUE}, "keys of several kinds"),
    "no password": (HOST | {"username": "me"}, "Secret bad has no key password"),
    "no user name": (HOST | {"password": VALUE}, "Secret bad has no key username"),
    "half of S3's keys": (HOST | {"accessKeyId": "A"}, "Secret bad has no key secretAccessKey"),
    "an empty token": (HOST | {"token": "\n"}, "key token is empty"),
    "a header in the token": (HOST | {"token": f"{VALUE}\r\nX: y"}, "key token holds characters"),
    "a token with its word": (HOST | {"token": f"Bearer {VALUE}"}, "key token must be the token alone"),
    "a token in another script": (HOST | {"token": f"{VALUE}é"}, "key token holds characters"),
    "a colon in the user name": (
        HOST | {"username": f"a:{VALUE}", "password": "x"},
        "username must not hold",
    ),
    "a file for a value": (HOST | {"token": VALUE * 20_000}, "key token is longer than"),
}


@pytest.mark.parametrize(("keys", "says"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_secret_is_named_with_its_key_and_never_its_value(tmp_path, keys, says):
    secret(tmp_path, "bad", **keys)
    assert says in complaint(tmp_path)


def test_a_value_that_is_no_text_is_named(tmp_path):
    secret(tmp_path, "bad", **HOST)
    (tmp_path / "bad/token").write_bytes(VALUE.encode() + b"\xff")
    assert "key token is no text" in complaint(tmp_path)


def test_a_key_that_is_a_folder_is_named(tmp_path):
    secret(tmp_path, "bad", **HOST)
    (tmp_path / "bad/token").mkdir()
    assert "key token cannot be read" in complaint(tmp_path)


@pytest.mark.parametrize(
    "other", ["models.example.org", "a.org models.example.org:443", "MODELS.example.org:80"]
)
def test_two_secrets_for_one_host_are_both_named(tmp_path, other):
    secret(tmp_path, "one", host="models.example.org", token=VALUE)
    secret(tmp_path, "two", host=other, token=VALUE)
    assert "Secrets one and two both name the host models.example.org" in complaint(tmp_path)


def test_two_ports_of_one_host_may_have_a_secret_each(tmp_path):
    secret(tmp_path, "one", host="models.example.org", token=VALUE)
    secret(tmp_path, "two", host="models.example.org:8443", token=VALUE)
    assert [found(tmp_path, port=port) for port in (None, 8443)] == ["one", "two"]


class Mounted:
    """A Secret as the kubelet mounts it: keys are links through `..data`, which is exchanged as a whole."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.count = 0

    def publish(self, **keys):
        self.count += 1
        version = self.folder / f"..version-{self.count}"
        version.mkdir()
        for key, value in keys.items():
            (version / key).write_text(value)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        earlier = (self.folder / "..data").resolve() if self.count > 1 else None
        link.rename(self.folder / "..data")
        for key in keys:
            if not (self.folder / key).is_symlink():
                (self.folder / key).symlink_to(f"..data/{key}")
        if earlier is not None:
            for each in earlier.iterdir():
                each.unlink()
            earlier.rmdir()


def test_a_mounted_secret_is_read_and_its_other_entries_are_no_secrets(tmp_path):
    Mounted(tmp_path / "one").publish(host="models.example.org", token=VALUE)
    assert found(tmp_path) == "one"


def test_values_of_two_versions_are_never_mixed(tmp_path):
    mounted, stop = Mounted(tmp_path / "one"), threading.Event()
    mounted.publish(host="models.example.org", username="0", password="0")

    def rotate():
        number = 0
        while not stop.wait(0.001):
            number += 1
            mounted.publish(host="models.example.org", username=str(number), password=str(number))

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        seen = set()
        for _ in range(2000):
            values = Credentials(tmp_path).find("https", "models.example.org").values
            assert values["username"] == values["password"]
            seen.add(values["username"])
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 1
