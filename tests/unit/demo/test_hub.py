"""The demo's hub, asked over real sockets by plain HTTP and by Hugging Face's own client."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from demo.hub import repositories, server

CONTENT = bytes(range(256)) * 40
REPOSITORY = "some-org/some-model"
FILE = f"/{REPOSITORY}/resolve/main/weights.safetensors"


@pytest.fixture(scope="module")
def commit(root: Path) -> str:
    return repositories.read(root)[REPOSITORY].commit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    (root / REPOSITORY / "sub").mkdir(parents=True)
    (root / REPOSITORY / "weights.safetensors").write_bytes(CONTENT)
    (root / REPOSITORY / "sub/config.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def endpoint(root: Path) -> Iterator[str]:
    """A running hub's address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.create_app(repositories.read(root)), log_level="warning", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    thread.join()


@pytest.fixture
def client(endpoint: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=endpoint) as client:
        yield client


def test_head_announces_the_file_without_sending_it(client: httpx.Client, commit: str) -> None:
    answer = client.head(FILE)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert answer.headers["x-repo-commit"] == commit
    assert answer.content == b""


def test_get_sends_the_whole_file_at_a_branch_and_at_a_commit(client: httpx.Client, commit: str) -> None:
    assert client.get(FILE).content == CONTENT
    assert client.get(FILE.replace("/main/", f"/{commit}/")).content == CONTENT


def test_a_range_is_answered_with_that_part(client: httpx.Client) -> None:
    answer = client.get(FILE, headers={"Range": "bytes=100-"})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert answer.content == CONTENT[100:]


def test_a_range_is_kept_only_while_the_etag_is_the_same(client: httpx.Client) -> None:
    etag = client.head(FILE).headers["etag"]
    same = client.get(FILE, headers={"Range": "bytes=100-", "If-Range": etag})
    assert (same.status_code, same.content) == (206, CONTENT[100:])
    other = client.get(FILE, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, CONTENT)


def test_a_range_behind_the_end_is_refused(client: httpx.Client) -> None:
    answer = client.get(FILE, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/some-org/other/resolve/main/weights.safetensors", "RepoNotFound"),
        (f"/{REPOSITORY}/resolve/v2/weights.safetensors", "RevisionNotFound"),
        (f"/{REPOSITORY}/resolve/main/nothing.bin", "EntryNotFound"),
        (f"/{REPOSITORY}/resolve/main/../../../../etc/passwd", None),
        (f"/{REPOSITORY}/resolve/main/%2e%2e/%2e%2e/etc/passwd", "EntryNotFound"),
        ("/api/models/some-org/other/revision/main", "RepoNotFound"),
        ("/nowhere", None),
    ],
)
def test_what_is_missing_is_404_and_named(client: httpx.Client, path: str, code: str | None) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers.get("x-error-code") == code
    assert answer.json()["error"]


def test_the_commit_follows_the_contents(root: Path, commit: str, tmp_path: Path) -> None:
    assert len(commit) == 40 and int(commit, 16)
    copy = tmp_path / REPOSITORY
    copy.mkdir(parents=True)
    (copy / "weights.safetensors").write_bytes(CONTENT + b"!")
    assert repositories.read(tmp_path)[REPOSITORY].commit != commit


def test_hugging_faces_client_downloads(endpoint: str, tmp_path: Path) -> None:
    path = hf_hub_download(
        REPOSITORY, "weights.safetensors", endpoint=endpoint, cache_dir=tmp_path, token=False
    )
    assert Path(path).read_bytes() == CONTENT


def test_hugging_faces_client_lists_and_takes_a_snapshot(endpoint: str, commit: str, tmp_path: Path) -> None:
    assert HfApi(endpoint=endpoint, token=False).model_info(REPOSITORY).sha == commit
    folder = Path(snapshot_download(REPOSITORY, endpoint=endpoint, cache_dir=tmp_path, token=False))
    assert folder.name == commit
    assert (folder / "sub/config.json").read_text() == "{}"
    assert (folder / "weights.safetensors").read_bytes() == CONTENT


def test_hugging_faces_client_understands_what_is_missing(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("some-org/other", "x", endpoint=endpoint, cache_dir=tmp_path, token=False)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPOSITORY, "x", revision="v2", endpoint=endpoint, cache_dir=tmp_path, token=False)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(REPOSITORY, "x", endpoint=endpoint, cache_dir=tmp_path, token=False)
