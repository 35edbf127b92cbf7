"""Objects of S3: who signs what for which host, and what the store's refusals mean.

The signatures are checked by an implementation that is not the one that makes them.
"""

import datetime
from urllib.parse import quote, urlsplit

import pytest

from sd_operator.fetch import answers, errors, sources
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.network import failing
from sd_operator.fetch.request import Source
from tests.sources.signature import Key, SignatureError, Signed, check
from tests.unit.operator.fetch import loopback
from tests.unit.operator.fetch.loopback import Reply, secret, serving, settings

KEYS = {"AKID": Key("s3/cr+et"), "ASID": Key("temporary", "tok/en==")}


def source(**changes):
    return Source.model_validate({"s3": {"bucket": "models", "key": "a/b.safetensors"} | changes})


def resolved(tmp_path, **changes):
    return sources.resolve(
        source(**changes), wanted=None, client=None, settings=settings(credentials=tmp_path)
    )


def keys(root, host, access="AKID", **more):
    key = KEYS[access]
    token = {"sessionToken": key.session_token} if key.session_token else {}
    return secret(root, "store", host=host, accessKeyId=access, secretAccessKey=key.secret, **token, **more)


def store(asked):
    """A store with every object, for whoever signs well."""
    path, _, query = asked.path.partition("?")
    try:
        check(
            Signed(asked.method, path, query, asked.headers), KEYS, now=datetime.datetime.now(tz=datetime.UTC)
        )
    except SignatureError as error:
        return Reply(403, f"<Error><Code>{error.code}</Code></Error>".encode())
    return Reply(206 if "range" in asked.headers else 200, b"file", {"Content-Range": "bytes 1-4/5"})


@pytest.mark.parametrize("access", ["AKID", "ASID"])
@pytest.mark.parametrize(
    "key",
    [
        "a/b.safetensors",
        "with space/and+plus&amp=1?x#y.safetensors",
        "ünï/日本語.safetensors",
        "a//b/.hidden",
        "tilde~_.-!*'()%20",
    ],
)
def test_a_signed_address_is_one_that_the_store_accepts(tmp_path, access, key):
    """Also for a part of the object: only the host is signed."""
    with serving(store) as web:
        keys(tmp_path, f"127.0.0.1:{web.port}", access)
        found = resolved(tmp_path, key=key, endpoint=web.url())
        with loopback.client(secrets=tmp_path) as client:
            assert client.get(found.url, headers={"Range": "bytes=1-"}).content == b"file"
    (asked,) = web.asked
    assert asked.path.startswith(f"/models/{quote(key, safe='/~')}?")
    assert asked.authorization is None
    assert found.identity == f"s3://models/{key} at {web.url('')}"
    assert KEYS[access].secret not in found.url


def test_without_keys_the_address_is_plain(tmp_path):
    found = resolved(tmp_path, endpoint="https://minio.example.org:9000/base/")
    assert found.url == "https://minio.example.org:9000/base/models/a/b.safetensors"
    assert found.file_name == "b.safetensors"


PLACES = {
    "AWS": ({}, "models.s3.us-east-1.amazonaws.com/a/b.safetensors"),
    "another region": ({"region": "eu-central-1"}, "models.s3.eu-central-1.amazonaws.com/a/b.safetensors"),
    "China": ({"region": "cn-north-1"}, "models.s3.cn-north-1.amazonaws.com.cn/a/b.safetensors"),
    "a bucket with dots": ({"bucket": "my.models"}, "s3.us-east-1.amazonaws.com/my.models/a/b.safetensors"),
    "a bucket in capitals": ({"bucket": "Models"}, "s3.us-east-1.amazonaws.com/Models/a/b.safetensors"),
    "path style at AWS": ({"pathStyle": True}, "s3.us-east-1.amazonaws.com/models/a/b.safetensors"),
    "another store": ({"endpoint": "https://h:1"}, "h:1/models/a/b.safetensors"),
    "its hosts by bucket": ({"endpoint": "https://h:1", "pathStyle": False}, "models.h:1/a/b.safetensors"),
}


@pytest.mark.parametrize(("changes", "place"), PLACES.values(), ids=PLACES.keys())
def test_where_an_object_is(tmp_path, changes, place):
    assert resolved(tmp_path, **changes).url == f"https://{place}"


def test_a_bucket_that_is_no_name_of_a_host_is_not_made_one(tmp_path):
    with pytest.raises(FetchError, match=r"source\.s3\.pathStyle to true") as caught:
        resolved(tmp_path, bucket="My_Models", pathStyle=False)
    assert caught.value.reason == errors.INVALID_REQUEST


@pytest.mark.parametrize("endpoint", ["https://MinIO.Example.org:443", "https://minio.example.org"])
def test_what_is_signed_is_the_host_as_it_is_sent(tmp_path, endpoint):
    keys(tmp_path, "minio.example.org")
    assert resolved(tmp_path, endpoint=endpoint).url.startswith("https://minio.example.org/models/a/b.")


@pytest.mark.parametrize(
    ("host", "signed"),
    [
        ("models.s3.us-east-1.amazonaws.com", True),
        ("s3.us-east-1.amazonaws.com", True),
        ("s3.amazonaws.com", True),
        ("amazonaws.com", False),
        ("other.s3.us-east-1.amazonaws.com", False),
        ("s3.eu-west-1.amazonaws.com", False),
    ],
)
def test_keys_sign_for_the_host_or_the_endpoint_that_their_secret_names(tmp_path, host, signed):
    keys(tmp_path, host)
    assert ("X-Amz-Signature=" in resolved(tmp_path).url) is signed


def test_a_secret_may_name_the_region_and_the_source_goes_before_it(tmp_path):
    keys(tmp_path, "s3.amazonaws.com", region="eu-west-3")
    assert urlsplit(resolved(tmp_path).url).hostname == "models.s3.eu-west-3.amazonaws.com"
    assert "%2Feu-west-3%2Fs3%2F" in resolved(tmp_path).url
    assert "%2Fus-west-2%2Fs3%2F" in resolved(tmp_path, region="us-west-2").url


def test_a_secret_without_keys_for_s3_is_named(tmp_path):
    secret(tmp_path, "hub", host="h:1", token="t1")
    with pytest.raises(FetchError, match=r"Secret hub .* accessKeyId and secretAccessKey") as caught:
        resolved(tmp_path, endpoint="https://h:1")
    assert caught.value.reason == errors.CREDENTIAL_INVALID


def xml(code, more=""):
    return f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>m</Message>{more}</Error>'.encode()


REGION = "<Region>eu-west-3</Region>"
SIGNED = {
    "no key": (404, xml("NoSuchKey"), errors.NOT_FOUND, False, "source.s3.key"),
    "no bucket": (404, xml("NoSuchBucket"), errors.NOT_FOUND, False, "source.s3.bucket"),
    "no right": (403, xml("AccessDenied"), errors.FORBIDDEN, False, "Secret store may not read it"),
    "unknown id": (403, xml("InvalidAccessKeyId"), errors.UNAUTHORIZED, False, "accessKeyId of Secret store"),
    "wrong key": (403, xml("SignatureDoesNotMatch"), errors.UNAUTHORIZED, False, "secretAccessKey of Secret"),
    "old token": (400, xml("ExpiredToken"), errors.UNAUTHORIZED, False, "sessionToken of Secret store"),
    "clock": (403, xml("RequestTimeTooSkewed"), errors.UNAUTHORIZED, True, "clock of the node"),
    "too often": (503, xml("SlowDown"), errors.RATE_LIMITED, True, "too many requests"),
    "a bad day": (503, xml("ServiceUnavailable"), errors.SERVER_ERROR, True, "answered 503"),
    "archived": (403, xml("InvalidObjectState"), errors.SOURCE_REFUSED, False, "archived"),
    "expired": (
        403,
        xml("AccessDenied", "<Message>Request has expired</Message>"),
        errors.FORBIDDEN,
        True,
        "",
    ),
    "region": (400, xml("AuthorizationHeaderMalformed", REGION), errors.SOURCE_REFUSED, False, "eu-west-3"),
    "region of a query": (
        400,
        xml("AuthorizationQueryParametersError", REGION),
        errors.SOURCE_REFUSED,
        False,
        "the bucket is in the region eu-west-3, not us-east-1; set source.s3.region",
    ),
    "no XML": (403, b"<html>no", errors.FORBIDDEN, False, "Secret store"),
    "hostile XML": (403, b"<Error>" + b"<a>" * 100_000, errors.FORBIDDEN, False, "Secret store"),
}


def refused(web, client, location):
    with (
        pytest.raises(FetchError) as caught,
        failing(location.identity),
        client.stream("GET", location.url) as response,
    ):
        answers.understand(response, location)
    assert "Signature=" not in caught.value.message and "<" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("case", SIGNED.values(), ids=SIGNED.keys())
def test_what_the_stores_refusals_mean(tmp_path, case):
    status, body, reason, retryable, says = case
    with serving(Reply(status, body)) as web:
        keys(tmp_path, f"127.0.0.1:{web.port}")
        with loopback.client(secrets=tmp_path) as client:
            error = refused(web, client, resolved(tmp_path, endpoint=web.url()))
    assert (error.reason, error.retryable) == (reason, retryable)
    assert says in error.message


def test_a_redirect_to_another_region_says_which(tmp_path):
    reply = Reply(301, xml("PermanentRedirect"), {"x-amz-bucket-region": "eu-west-3"})
    with serving(reply) as web, loopback.client() as client:
        error = refused(web, client, resolved(tmp_path, endpoint=web.url()))
    assert error.reason == errors.SOURCE_REFUSED and "set source.s3.region" in error.message


def test_an_object_that_is_not_public_needs_a_secret_that_names_the_host(tmp_path):
    with serving(Reply(403, xml("AccessDenied"))) as web, loopback.client() as client:
        error = refused(web, client, resolved(tmp_path, endpoint=web.url()))
    assert error.reason == errors.FORBIDDEN
    place = f"127.0.0.1:{web.port}"
    assert f"no Secret of spec.credentialSecrets names the host {place}; add one" in error.message


def test_the_version_of_an_object_is_told(tmp_path):
    with serving(Reply(body=b"file", headers={"x-amz-version-id": "3HL4k"})) as web:
        found = resolved(tmp_path, endpoint=web.url())
        with loopback.client() as client, client.stream("GET", found.url) as response:
            assert answers.understand(response, found).version == "3HL4k"
