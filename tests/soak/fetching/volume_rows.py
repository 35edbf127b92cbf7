"""Rows of the fault table: volumes that fail, files that must not be taken, several fetches of one volume."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.soak.fetching.reader import HIDDEN
from tests.soak.fetching.scene import FOLDER, Scene, Try
from tests.soak.fetching.server import (
    ANOTHER,
    CLEAN,
    CLIMBING,
    EVIL,
    HUGE_HEADER,
    MIB,
    MODEL,
    OVERLAPPING,
    SMALL,
)

Row = Callable[[Scene], None]
RATE = 32 * MIB
#: Of a file that is refused by its header no more than this is asked for.
HEADER_BYTES = 4 * MIB
STEP_SECONDS = 0.02
A_PORT = "39091"


def full(scene: Scene) -> None:
    """The volume is smaller than the file: nothing is downloaded in vain; a larger one is filled."""
    with mounted(scene.root, "-t", "tmpfs", "-o", "size=48m", "none"):
        first = scene.run(scene.address())
        scene.failed(first, "NoSpace", retryable=True)
        scene.nothing_visible()
        assert scene.server.sent(scene.case) < HEADER_BYTES, "it was downloaded without the space for it"
        mount("-o", "remount,size=160m", scene.root)
        scene.verified(scene.run(scene.address()))
        scene.reader.stop()


def becomes_full(scene: Scene) -> None:
    """Somebody else fills the volume in the middle of the fetch; space that is made is used."""
    with mounted(scene.root, "-t", "tmpfs", "-o", "size=160m", "none"):
        address = scene.address(rate=RATE)
        first = scene.start(address)
        scene.until_sent(0.3, first)
        filler = scene.root / HIDDEN / "filler"
        fill(filler)
        scene.failed(first.wait(), "NoSpace", retryable=True)
        scene.nothing_visible()
        filler.unlink()
        scene.verified(scene.run(address))
        scene.reader.stop()


def read_only(scene: Scene) -> None:
    with mounted(scene.root, "--bind", scene.root):
        mount("-o", "remount,bind,ro", scene.root)
        fetch = scene.run(scene.address())
        scene.failed(fetch, "VolumeError", retryable=False)
        scene.nothing_visible()
        scene.reader.stop()


def wrong_hash(scene: Scene) -> None:
    fetch = scene.run(scene.address(), sha256="0" * 64)
    scene.failed(fetch, "HashMismatch", retryable=False)
    assert "0" * 64 in fetch.told["message"]
    assert scene.server.digests[MODEL] in fetch.told["message"]
    scene.nothing_visible()
    scene.starts_over()
    scene.verified(scene.run(scene.address(), sha256=scene.server.digests[MODEL]))


def pickle(scene: Scene, *, policy: str, name: str | None = None) -> None:
    """Code in a pickle, whatever the file is called, is never run."""
    fetch = scene.run(scene.address(EVIL), type="TextualInversion", formatPolicy=policy, fileName=name)
    if policy == "ScanPickle":
        scene.failed(fetch, "PickleUnsafe", retryable=False)
        assert "system" in fetch.told["message"], fetch.told
    else:
        # The name alone is reason enough.
        scene.failed(fetch, "FormatRefused", *(() if name else ("InvalidRequest",)), retryable=False)
        assert "safetensors" in fetch.told["message"], fetch.told
    scene.nothing_visible()


def clean_pickle(scene: Scene) -> None:
    """Converted, and killed meanwhile: what is visible is only ever the whole of the same safetensors."""
    scene.allowed_twice = 100 * MIB
    words: dict[str, Any] = {"type": "Hypernetwork", "formatPolicy": "ScanPickle"}
    fetch = killed_later_each_time(scene, lambda: scene.start(scene.address(CLEAN), **words))
    assert (fetch.exit, fetch.told.get("state")) == (0, "Verified"), Scene.say(fetch)
    assert fetch.told["sourceSha256"] == scene.server.digests[CLEAN], fetch.told
    assert scene.visible() == [fetch.told["path"]]
    assert not scene.left()
    scene.reader.whole.add(fetch.told["sha256"])


def contradicted(scene: Scene, *, reason: str, **words: str) -> None:
    """The header says that the file is something else: known before the file is downloaded."""
    fetch = scene.run(scene.address(), **words)
    scene.failed(fetch, reason, retryable=False)
    assert scene.server.sent(scene.case) < HEADER_BYTES
    scene.nothing_visible()


def refused_by_its_header(scene: Scene, *, name: str) -> None:
    fetch = scene.run(scene.address(name))
    scene.failed(fetch, "FormatRefused", retryable=False)
    assert scene.server.sent(scene.case) < HEADER_BYTES
    scene.nothing_visible()


def outside(scene: Scene, *, file_name: str) -> None:
    """A name that leads out of its folder."""
    fetch = scene.run(scene.address(SMALL), fileName=file_name)
    stays_inside(scene, fetch)


def outside_by_its_address(scene: Scene) -> None:
    fetch = scene.run(scene.address(CLIMBING))
    assert fetch.told.get("reason") != "NotFound", Scene.say(fetch)
    stays_inside(scene, fetch)


def outside_of_its_claim(scene: Scene) -> None:
    """A path of a mounted claim that leads to a file beside it."""
    claims = scene.folder / "claims"
    (claims / "models").mkdir(parents=True)
    shutil.copy(scene.server.root / "files" / SMALL, claims / "up.safetensors")
    source = {"volume": {"claimName": "models", "path": "../up.safetensors"}}
    fetch = scene.run(sources=[source], env={"SD_FETCH_SOURCES": str(claims)})
    stays_inside(scene, fetch)


def stays_inside(scene: Scene, fetch: Try) -> None:
    scene.failed(fetch, "InvalidRequest", "SourceRefused", retryable=False)
    scene.nothing_visible()
    assert not list(scene.folder.glob("*.safetensors")), "a file came to lie outside the volume"


def two_files_of_one_name(scene: Scene) -> None:
    """Of one bundle, two different files are called the same by their sources: the first keeps the path."""
    scene.verified(scene.run(scene.address(SMALL), name="first"), name=SMALL, path=f"{FOLDER}/{SMALL}")
    fetch = scene.run(scene.address(f"nowhere/{SMALL}"), scene.address(ANOTHER), name="second")
    scene.failed(fetch, "PathConflict", retryable=False)
    assert "first" in fetch.told["message"], "whose the path is"
    assert scene.visible() == [f"{FOLDER}/{SMALL}"]
    assert owners(scene) == {f"{FOLDER}/{SMALL}": {"bundle/first"}}


def an_entry_renamed(scene: Scene) -> None:
    """Another entry of the bundle has the path by now (two at once the operator refuses): the file is
    replaced whole."""
    scene.verified(
        scene.run(scene.address(SMALL), fileName=MODEL, name="first"), name=SMALL, path=f"{FOLDER}/{MODEL}"
    )
    fetch = scene.run(scene.address(ANOTHER), fileName=MODEL, name="second")
    scene.verified(fetch, name=ANOTHER, path=f"{FOLDER}/{MODEL}")
    assert scene.visible() == [f"{FOLDER}/{MODEL}"]
    assert owners(scene) == {f"{FOLDER}/{MODEL}": {"bundle/second"}}


def two_bundles_other_content(scene: Scene) -> None:
    scene.verified(
        scene.run(scene.address(SMALL), fileName=MODEL, bundle="one"), name=SMALL, path=f"{FOLDER}/{MODEL}"
    )
    fetch = scene.run(scene.address(ANOTHER), fileName=MODEL, bundle="two")
    scene.failed(fetch, "PathConflict", retryable=False)
    assert owners(scene) == {f"{FOLDER}/{MODEL}": {"one/base"}}


def two_bundles_same_file(scene: Scene, *, sha256: bool) -> None:
    """The second finds the file and owns it too; with a sha256 in the spec it asks the source for nothing."""
    words = {"sha256": scene.server.digests[MODEL]} if sha256 else {}
    scene.verified(scene.run(scene.address(), bundle="one", **words))
    before = scene.server.sent(scene.case)
    scene.starts_over()
    scene.verified(scene.run(scene.address(), bundle="two", **words))
    if sha256:
        again = scene.server.sent(scene.case) - before
        assert again < HEADER_BYTES, f"{again} bytes were downloaded of a file that was there"
    assert owners(scene) == {f"{FOLDER}/{MODEL}": {"one/base", "two/base"}}


def two_bundles_same_content(scene: Scene) -> None:
    """Under two names: the bytes are stored once."""
    scene.starts_over()
    scene.verified(
        scene.run(scene.address(), bundle="one", fileName="one.safetensors"), path=f"{FOLDER}/one.safetensors"
    )
    second = scene.run(scene.address(), bundle="two", fileName="two.safetensors")
    assert second.told.get("shared") is True, Scene.say(second)
    scene.verified(second, path=second.told["path"])
    assert stored(scene) < 1.5 * scene.server.size(MODEL), f"{stored(scene)} bytes are stored"


def at_the_same_time(scene: Scene) -> None:
    """Four processes at once, of two bundles: a file that both want, and one of each; all with one port."""
    scene.starts_over()
    env = {"SD_FETCH_PORT": A_PORT}
    both = [scene.start(scene.address(rate=RATE), bundle=bundle, env=env) for bundle in ("one", "two")]
    mine = scene.start(scene.address(SMALL), bundle="one", name="mine", env=env)
    yours = scene.start(scene.address(ANOTHER), bundle="two", name="yours", env=env)
    for fetch, name in ((both[0], MODEL), (both[1], MODEL), (mine, SMALL), (yours, ANOTHER)):
        fetch.wait()
        scene_left_alone(scene, fetch, name)
    found = owners(scene)
    assert found[f"{FOLDER}/{MODEL}"] == {"one/base", "two/base"}
    assert (found[f"{FOLDER}/{SMALL}"], found[f"{FOLDER}/{ANOTHER}"]) == ({"one/mine"}, {"two/yours"})
    assert stored(scene) < 1.1 * sum(map(scene.server.size, (MODEL, SMALL, ANOTHER)))


def the_same_fetch_twice(scene: Scene) -> None:
    """A Job's pod that was given up and goes on all the same: two processes of one file of one bundle."""
    both = [scene.start(scene.address(rate=RATE)) for _ in range(2)]
    for fetch in both:
        scene_left_alone(scene, fetch.wait(), MODEL)
    assert not scene.left()


def scene_left_alone(scene: Scene, fetch: Try, name: str) -> None:
    """Verified, while others may still run."""
    assert (fetch.exit, fetch.told.get("state")) == (0, "Verified"), Scene.say(fetch)
    assert fetch.told["sha256"] == scene.server.digests[name]


def killed_at_any_moment(scene: Scene) -> None:
    """A small file: verifying and placing take as long as the rest."""
    scene.allowed_twice = 100 * MIB
    scene.verified(
        killed_later_each_time(scene, lambda: scene.start(scene.address(SMALL, rate=RATE))), name=SMALL
    )


def killed_later_each_time(scene: Scene, start: Callable[[], Try]) -> Try:
    """Killed a few milliseconds later than before, until it is done before that."""
    delay, rounds = 0.2, 0
    while True:
        fetch = start()
        deadline = time.monotonic() + delay
        while fetch.running() and time.monotonic() < deadline:
            time.sleep(0.002)
        if not fetch.running():
            break
        fetch.kill()
        rounds, delay = rounds + 1, delay + STEP_SECONDS
    scene.tries = scene.tries[-1:]
    fetch.wait()
    fetch.done = f"killed {rounds} times, then {fetch}"
    return fetch


def owners(scene: Scene) -> dict[str, set[str]]:
    return {entry["path"]: set(entry["owners"]) for entry in scene.entries()}


def stored(scene: Scene) -> int:
    """Bytes of the files that are visible, each once however many names it has."""
    states = [(scene.root / path).stat() for path in scene.visible()]
    return sum({state.st_ino: state.st_size for state in states}.values())


def fill(filler: Path) -> None:
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(MIB))
            file.flush()


@contextlib.contextmanager
def mounted(target: Path, *arguments: str | Path) -> Iterator[None]:
    """Mounts need root, which the soak tests have where the local cluster runs."""
    mount(*arguments, target)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)


ROWS: Mapping[str, Row] = {
    "killed at any moment of a small file": killed_at_any_moment,
    "full disk": full,
    "disk becomes full in the middle": becomes_full,
    "read-only volume": read_only,
    "wrong sha256": wrong_hash,
    "pickle with code, SafetensorsOnly": partial(pickle, policy="SafetensorsOnly"),
    "pickle with code, called .safetensors": partial(pickle, policy="SafetensorsOnly", name=MODEL),
    "pickle with code, ScanPickle": partial(pickle, policy="ScanPickle"),
    "pickle with code, ScanPickle, called .safetensors": partial(pickle, policy="ScanPickle", name=MODEL),
    "clean pickle, killed at any moment": clean_pickle,
    "another type than the spec's": partial(contradicted, reason="TypeMismatch", type="VAE"),
    "another family than the spec's": partial(contradicted, reason="FamilyMismatch", family="SDXL"),
    "header claims 1 GB": partial(refused_by_its_header, name=HUGE_HEADER),
    "overlapping offsets": partial(refused_by_its_header, name=OVERLAPPING),
    "file name with ..": partial(outside, file_name="../../../up.safetensors"),
    "address with ..": outside_by_its_address,
    "path of a claim with ..": outside_of_its_claim,
    "two files of one name": two_files_of_one_name,
    "one path, another entry of the bundle": an_entry_renamed,
    "two bundles, one path, other content": two_bundles_other_content,
    "two bundles, one path, same file": partial(two_bundles_same_file, sha256=False),
    "two bundles, one path, same sha256 in the spec": partial(two_bundles_same_file, sha256=True),
    "two bundles, two paths, same content": two_bundles_same_content,
    "four fetches at the same time": at_the_same_time,
    "the same fetch twice at the same time": the_same_fetch_twice,
}
