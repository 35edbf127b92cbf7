"""The hub, the catalogue and S3 answer as the real ones do, and refuse whom they would refuse."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from tests.sources import credentials

if TYPE_CHECKING:
    from .conftest import Sources

KEY = "/models/a%20b%2B%C3%A9/seven.safetensors"
GOOD = Credentials(credentials.S3_ACCESS_KEY_ID, credentials.S3_SECRET_ACCESS_KEY)
TEMPORARY = Credentials(
    credentials.S3_TEMPORARY_KEY_ID, credentials.S3_TEMPORARY_SECRET, credentials.S3_SESSION_TOKEN
)


def content(sources: "Sources") -> bytes:
    return (sources.root / "files/seven.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("access", "token"),
    [("open", None), ("private", credentials.HUB_TOKEN), ("gated", credentials.HUB_MEMBER_TOKEN)],
)
def test_the_hubs_own_client_downloads(
    sources: "Sources", tmp_path: Path, access: str, token: str | None
) -> None:
    found = hf_hub_download(
        f"{access}/seven",
        "seven.safetensors",
        endpoint=sources.base,
        cache_dir=tmp_path,
        token=token or False,
    )
    assert Path(found).read_bytes() == content(sources)


@pytest.mark.parametrize(
    ("access", "token", "error"),
    [
        ("private", None, RepositoryNotFoundError),
        ("absent", None, RepositoryNotFoundError),
        ("gated", credentials.HUB_TOKEN, GatedRepoError),
    ],
)
def test_the_hubs_own_client_is_refused(
    sources: "Sources", tmp_path: Path, access: str, token: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        hf_hub_download(
            f"{access}/seven",
            "seven.safetensors",
            endpoint=sources.base,
            cache_dir=tmp_path,
            token=token or False,
        )


def test_the_cdn_wants_its_signature_and_no_other_credentials(sources: "Sources") -> None:
    moved = sources.get("/open/seven/resolve/main/seven.safetensors")
    assert moved.headers["X-Linked-ETag"] == f'"{hashlib.sha256(content(sources)).hexdigest()}"'
    location = moved.headers["Location"]
    assert sources.client.get(location).content == content(sources)
    assert sources.client.get(location, headers={"Authorization": "Bearer x"}).status_code == 400
    assert sources.client.get(location.replace("Signature=", "Signature=0")).status_code == 403


def test_a_version_is_found_by_id_and_by_hash_and_downloads_with_a_token(sources: "Sources") -> None:
    version = sources.get("/api/v1/model-versions/7").json()
    digest = version["files"][0]["hashes"]["SHA256"]
    assert sources.get(f"/api/v1/model-versions/by-hash/{digest}").json()["id"] == 7
    address = version["files"][0]["downloadUrl"]
    page = sources.client.get(address, follow_redirects=True)
    assert page.headers["Content-Type"].startswith("text/html")
    token = {"Authorization": f"Bearer {credentials.CIVITAI_TOKEN}"}
    moved = sources.client.get(address, headers=token)
    assert sources.client.get(moved.headers["Location"]).content == content(sources)
    pickle = sources.client.get(version["files"][1]["downloadUrl"], headers=token)
    assert sources.client.get(pickle.headers["Location"]).content == b"a pickle"


@pytest.mark.parametrize("keys", [GOOD, TEMPORARY])
@pytest.mark.parametrize("way", [S3SigV4Auth, S3SigV4QueryAuth])
def test_s3_admits_its_keys(sources: "Sources", keys: Credentials, way: type[S3SigV4Auth]) -> None:
    request = signed(sources, keys, way)
    answer = sources.client.get(str(request.url), headers={**dict(request.headers), "Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, content(sources)[10:20])


@pytest.mark.parametrize("way", [S3SigV4Auth, S3SigV4QueryAuth])
@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (Credentials(GOOD.access_key, "another secret"), "SignatureDoesNotMatch"),
        (Credentials("nobody", GOOD.secret_key), "InvalidAccessKeyId"),
        (Credentials(TEMPORARY.access_key, TEMPORARY.secret_key), "InvalidToken"),
    ],
)
def test_s3_refuses_other_keys(
    sources: "Sources", keys: Credentials, code: str, way: type[S3SigV4Auth]
) -> None:
    request = signed(sources, keys, way)
    answer = sources.client.get(str(request.url), headers=dict(request.headers))
    assert answer.status_code in (400, 403)
    assert code in answer.text


def test_s3_refuses_the_unsigned_and_a_signature_for_another_key(sources: "Sources") -> None:
    base = f"http://127.0.0.1:{sources.ports['s3']}"
    assert sources.client.get(base + KEY).status_code == 403
    address = str(signed(sources, GOOD, S3SigV4QueryAuth).url)
    assert sources.client.get(address.replace("seven.", "other.")).status_code == 403


def test_a_bucket_may_be_the_first_label_of_the_host(sources: "Sources") -> None:
    host = "models.storage.example:9000"
    request = signed(sources, GOOD, S3SigV4Auth, path=KEY.removeprefix("/models"), host=host)
    answer = sources.client.get(str(request.url), headers=dict(request.headers))
    assert answer.content == content(sources)


def signed(
    sources: "Sources", keys: Credentials, way: type[S3SigV4Auth], *, path: str = KEY, host: str = ""
) -> AWSRequest:
    address = f"http://127.0.0.1:{sources.ports['s3']}{path}"
    request = AWSRequest("GET", address, headers={"Host": host} if host else {})
    way(keys, "s3", credentials.S3_REGION).add_auth(request)
    return request
