"""The operator's own key: read, made when there is none, named when it is unusable."""

import base64
from pathlib import Path
from typing import Any

import pytest

from sd_operator import errors, names, own_key
from sd_operator.names import Resource
from sd_operator.settings import Settings

WHERE = "Secret ops/sd-key (SDO_KEY_SECRET)"
IN_CLUSTER = Settings(operator_image="o", runtime_image="r", namespace="ops", key_secret="sd-key")


def secret(**data: bytes) -> dict[str, Any]:
    return {"data": {name: base64.b64encode(value).decode() for name, value in data.items()}}


class Secrets:
    """An API server with one Secret, or none; as the real one, it keeps stringData as data."""

    def __init__(self, stored: dict[str, Any] | None = None) -> None:
        self.stored = stored
        self.asked: list[str] = []

    async def get(self, resource: Resource, *, namespace: str, name: str) -> dict[str, Any] | None:
        assert resource is names.SECRET
        self.asked.append(f"get {namespace}/{name}")
        return self.stored

    async def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        assert resource is names.SECRET
        metadata, given = manifest["metadata"], manifest["stringData"]
        self.asked.append(f"create {metadata['namespace']}/{metadata['name']}")
        self.stored = manifest | secret(**{name: value.encode() for name, value in given.items()})
        return self.stored


class Forbidding(Secrets):
    """Refuses one verb."""

    def __init__(self, verb: str) -> None:
        super().__init__()
        self.verb = verb

    async def get(self, resource: Resource, *, namespace: str, name: str) -> dict[str, Any] | None:
        if self.verb == "get":
            raise errors.RefusedError('secrets "sd-key" is forbidden', status=403)
        return await super().get(resource, namespace=namespace, name=name)

    async def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        raise errors.RefusedError("secrets is forbidden", status=403)


class Raced(Secrets):
    """Another operator makes the Secret between a look and a try to make it."""

    def __init__(self, winner: dict[str, Any] | None) -> None:
        super().__init__()
        self.winner = winner

    async def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        self.stored = self.winner
        raise errors.ConflictError('secrets "sd-key" already exists', status=409)


async def test_the_key_that_is_there_is_read_and_nothing_is_written() -> None:
    api = Secrets(secret(key=b"0123456789abcdef\n", note=b"x"))
    assert await own_key.obtain(IN_CLUSTER, api) == b"0123456789abcdef"
    assert api.asked == ["get ops/sd-key"]


async def test_where_there_is_none_it_is_made_once_and_is_then_the_same() -> None:
    api = Secrets()
    made = await own_key.obtain(IN_CLUSTER, api)
    assert len(made) == 48 and made.isalnum()
    assert await own_key.obtain(IN_CLUSTER, api) == made
    assert api.asked == ["get ops/sd-key", "create ops/sd-key", "get ops/sd-key"]


async def test_a_made_key_cannot_be_changed_and_says_whose_it_is() -> None:
    api = Secrets()
    await own_key.obtain(IN_CLUSTER, api)
    assert api.stored is not None
    assert api.stored["immutable"] is True
    assert api.stored["metadata"]["labels"] == {"app.kubernetes.io/part-of": "sd-operator"}


async def test_two_operators_make_two_keys() -> None:
    assert await own_key.obtain(IN_CLUSTER, Secrets()) != await own_key.obtain(IN_CLUSTER, Secrets())


async def test_who_was_faster_is_followed() -> None:
    assert (
        await own_key.obtain(IN_CLUSTER, Raced(secret(key=b"the winner's own key")))
        == b"the winner's own key"
    )


@pytest.mark.parametrize(
    ("api", "words"),
    [
        (Secrets(secret()), "has no entry 'key'; its entries: none at all"),
        (Secrets(secret(token=b"x", extra=b"y")), "has no entry 'key'; its entries: extra, token"),
        (Secrets(secret(key=b"short\n")), "holds 5 bytes; at least 16 are needed"),
        (Secrets({"data": {"key": "%%%"}}), "entry 'key' is not base64"),
        (Forbidding("get"), 'cannot be read: secrets "sd-key" is forbidden'),
        (Forbidding("create"), "does not exist and cannot be made: secrets is forbidden"),
        (Raced(None), "was deleted as soon as it was there"),
    ],
)
async def test_a_secret_that_is_unusable_is_named_with_what_is_wrong(api: Secrets, words: str) -> None:
    with pytest.raises(errors.OwnKeyError) as caught:
        await own_key.obtain(IN_CLUSTER, api)
    assert str(caught.value).startswith(WHERE) and words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"short\n", "holds 5 bytes; at least 16")],
    ids=["missing", "too short"],
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(errors.OwnKeyError, match=rf"key \(SDO_KEY_FILE\) {words}"):
        own_key.read(tmp_path / "key")


async def test_outside_of_a_cluster_the_key_is_in_a_file_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef\n")
    api = Secrets()
    settings = Settings(operator_image="o", runtime_image="r", key_file=tmp_path / "key")
    assert await own_key.obtain(settings, api) == b"0123456789abcdef"
    assert api.asked == []
