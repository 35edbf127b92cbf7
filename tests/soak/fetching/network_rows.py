"""Rows of the fault table: deaths of the fetcher, and all that servers and networks do to it."""

import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.soak.fetching.scene import CHUNK_BYTES, Scene
from tests.soak.fetching.server import ANOTHER, HOST, MIB, MODEL, OTHER_HOST

Row = Callable[[Scene], None]
#: Slow enough that a kill lands where it is wanted: the file takes three seconds.
RATE = 32 * MIB
TOKEN, NEW_TOKEN = "the-first-token", "the-second-token"
TIMES_KILLED = 6
STOP_SECONDS = 10.0


def killed(scene: Scene, *, share: float, rate: int = RATE) -> None:
    address = scene.address(rate=rate)
    first = scene.start(address)
    scene.until_sent(share, first)
    first.kill()
    first.done = f"killed at {share:.0%}"
    scene.nothing_visible()
    scene.verified(scene.run(address))


def killed_again_and_again(scene: Scene) -> None:
    address = scene.address(rate=RATE)
    for number in range(1, TIMES_KILLED + 1):
        fetch = scene.start(address)
        scene.until_sent(number / (TIMES_KILLED + 1), fetch)
        fetch.kill()
        fetch.done = "killed"
        scene.nothing_visible()
    scene.allowed_twice = TIMES_KILLED * CHUNK_BYTES
    scene.verified(scene.run(address))


def stopped(scene: Scene) -> None:
    address = scene.address(rate=RATE)
    first = scene.start(address)
    scene.until_sent(0.5, first)
    begun = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    first.wait(STOP_SECONDS)
    scene.failed(first, "Interrupted", retryable=True)
    assert time.monotonic() - begun < STOP_SECONDS
    scene.nothing_visible()
    scene.verified(scene.run(address))


def survives(scene: Scene, **plan: Any) -> None:
    """One process brings the file in spite of it."""
    scene.verified(scene.run(scene.address(**({"rate": 4 * RATE} | plan))))


def survives_without_resuming(scene: Scene, **plan: Any) -> None:
    """The source cannot go on, or cannot be trusted to: what was there before the trouble comes again."""
    scene.starts_over()
    survives(scene, **plan)


def refused(
    scene: Scene, *, by: tuple[str, ...], retryable: bool = False, seconds: float = 0.0, **plan: Any
) -> None:
    """It ends with one of these reasons, in so many seconds, and nothing is visible."""
    begun = time.monotonic()
    fetch = scene.run(scene.address(**plan))
    scene.failed(fetch, *by, retryable=retryable)
    took = time.monotonic() - begun
    assert not seconds or took < seconds, f"it took {took:.0f} s"
    scene.nothing_visible()


def rate_limited(scene: Scene) -> None:
    begun = time.monotonic()
    survives(scene, status=429, retry_after=2, times=3)
    assert time.monotonic() - begun >= 6.0, "it came back before it was allowed to"
    asks = asks_of(scene)
    assert [ask["status"] for ask in asks[:4]].count(429) == 3, asks[:4]


def another_file_during_a_resume(scene: Scene) -> None:
    """The file is replaced at half of it, while the fetcher is dead."""
    scene.starts_over()
    address = scene.address(rate=RATE, swap=ANOTHER, swap_at=45)
    first = scene.start(address)
    scene.until_sent(0.5, first)
    first.kill()
    first.done = "killed at 50%"
    second = scene.run(address, fileName=ANOTHER)
    scene.verified(second, name=ANOTHER)


def another_file_while_it_comes(scene: Scene) -> None:
    scene.starts_over()
    fetch = scene.run(scene.address(rate=RATE, swap=ANOTHER, swap_at=40, cut_at=50), fileName=ANOTHER)
    scene.verified(fetch, name=ANOTHER)


def another_file_than_pinned(scene: Scene) -> None:
    """The same with a sha256 in the spec: the new file is not the one."""
    scene.starts_over()
    address = scene.address(rate=RATE, swap=ANOTHER, swap_at=40, cut_at=50)
    fetch = scene.run(address, sha256=scene.server.digests[MODEL])
    scene.failed(fetch, "HashMismatch", retryable=False)
    scene.nothing_visible()


def redirected(scene: Scene, *, host: str = OTHER_HOST, tls: str = "") -> None:
    """The file is on another host, or another port: no credentials arrive there."""
    scene.secret("first", host=here(scene), token=TOKEN)
    there = f"{scene.case}-there"
    target = scene.server.address(there, MODEL, host=host, tls=tls)
    fetch = scene.run(
        scene.address(bearer=TOKEN, redirect=target), env={"SD_FETCH_CA_FILE": str(scene.server.ca)}
    )
    scene.verified(fetch)
    assert {ask["authorization"] for ask in asks_of(scene)} == {f"Bearer {TOKEN}"}
    arrived = scene.server.told(there)[f"/files/{there}/{MODEL}"]["asks"]
    assert arrived
    leaked = [ask for ask in arrived if ask["authorization"]]
    assert not leaked, f"credentials arrived at another host: {leaked}"


def redirected_with_a_secret_there(scene: Scene, *, tls: str) -> None:
    """Each host gets its own credentials; a redirect to plain http gets none."""
    port = scene.server.ports[tls or "http"]
    scene.secret("first", host=here(scene), token=TOKEN)
    scene.secret("second", host=f"{OTHER_HOST}:{port}", token=NEW_TOKEN)
    there = f"{scene.case}-there"
    target = scene.server.address(there, MODEL, host=OTHER_HOST, tls=tls, bearer=NEW_TOKEN)
    fetch = scene.run(
        scene.address(bearer=TOKEN, redirect=target), env={"SD_FETCH_CA_FILE": str(scene.server.ca)}
    )
    arrived = scene.server.told(there)[f"/files/{there}/{MODEL}"]["asks"]
    assert {ask["authorization"] for ask in asks_of(scene)} == {f"Bearer {TOKEN}"}
    assert {ask["authorization"] for ask in arrived} == {f"Bearer {NEW_TOKEN}" if tls else ""}
    if tls:
        return scene.verified(fetch)
    scene.failed(fetch, "Unauthorized", retryable=False)
    return scene.nothing_visible()


def redirected_to_plain_http(scene: Scene) -> None:
    target = scene.server.address(f"{scene.case}-there", MODEL)
    fetch = scene.run(
        scene.address(tls="https", redirect=target), env={"SD_FETCH_CA_FILE": str(scene.server.ca)}
    )
    scene.failed(fetch, "SourceRefused", retryable=False)
    scene.nothing_visible()


def not_allowed(scene: Scene) -> None:
    """Loopback itself, where nothing allows it."""
    fetch = scene.run(scene.address(), env={"SD_FETCH_ALLOWED_NETWORKS": ""})
    scene.failed(fetch, "AddressRefused", retryable=False)
    assert not scene.server.told(scene.case), "it was connected to"


def tls(scene: Scene, *, certificate: str, trusted: bool) -> None:
    env = {"SD_FETCH_CA_FILE": str(scene.server.ca)} if trusted else {}
    fetch = scene.run(scene.address(tls=certificate), env=env)
    if trusted and certificate == "https":
        return scene.verified(fetch)
    scene.failed(fetch, "TLS", retryable=False)
    assert not scene.server.told(scene.case), "it asked in spite of the certificate"
    return scene.nothing_visible()


def rotated_in_time(scene: Scene) -> None:
    """The Secret changes just before the server wants the new one: the same process goes on with it."""
    scene.secret("first", host=here(scene), token=TOKEN)
    fetch = scene.start(scene.address(rate=RATE, bearer=TOKEN, then_bearer=NEW_TOKEN, then_at=50))
    scene.until_sent(0.4, fetch)
    scene.secret("first", host=here(scene), token=NEW_TOKEN)
    scene.verified(fetch.wait())


def rotated_late(scene: Scene) -> None:
    """The server wants the new token first, and the Secret changes for the next process."""
    scene.secret("first", host=here(scene), token=TOKEN)
    address = scene.address(rate=RATE, bearer=TOKEN, then_bearer=NEW_TOKEN, then_at=50)
    first = scene.run(address)
    # It was let in before, so the Secret may be about to change.
    scene.failed(first, "Unauthorized", retryable=True)
    assert TOKEN not in str(first.told), "the verdict tells the token"
    assert TOKEN not in first.log.read_text(), "the log tells the token"
    scene.nothing_visible()
    scene.secret("first", host=here(scene), token=NEW_TOKEN)
    scene.verified(scene.run(address))


def basic(scene: Scene) -> None:
    scene.secret("user", host=here(scene), username="ada", password="l0ve:lace")
    scene.verified(scene.run(scene.address(basic="ada:l0ve:lace")))


def mirrored(scene: Scene, **plan: Any) -> None:
    """The first source is of no use; the second one is."""
    mirror = scene.server.address(f"{scene.case}-mirror", MODEL, host=OTHER_HOST)
    fetch = scene.run(scene.address(**plan), mirror, sha256=scene.server.digests[MODEL])
    scene.starts_over()
    scene.verified(fetch)


def here(scene: Scene) -> str:
    return f"{HOST}:{scene.server.ports['http']}"


def asks_of(scene: Scene) -> list[dict[str, Any]]:
    asks: list[dict[str, Any]] = scene.server.told(scene.case)[f"/files/{scene.case}/{MODEL}"]["asks"]
    return asks


GIVE_UP_SECONDS = 420.0
#: The slow ones come first: they only wait.
ROWS: Mapping[str, Row] = {
    "slow loris: 200 bytes a second, always": partial(
        refused, by=("Timeout",), retryable=True, seconds=GIVE_UP_SECONDS, rate=200, skip=1
    ),
    "slow loris: silent after 12 MB, four connections once": partial(
        survives, stall=600, stall_after=12 * MIB, times=4
    ),
    "no answer at all, once": partial(survives, stall=600, skip=1, times=1),
    **{f"kill -9 at {share:.0%}": partial(killed, share=share) for share in (0.1, 0.5, 0.9)},
    "kill -9 at 50%, of 256 MiB a second": partial(killed, share=0.5, rate=8 * RATE),
    f"kill -9, {TIMES_KILLED} times": killed_again_and_again,
    "SIGTERM at 50%": stopped,
    "truncated: connections closed at 50%": partial(survives, cut_at=50),
    "truncated: every answer ends after 3 MB": partial(survives, cut=3 * MIB),
    "429 with Retry-After, three times": rate_limited,
    "429 with Retry-After of an hour": partial(
        refused, by=("RateLimited",), retryable=True, seconds=30, status=429, retry_after=3600
    ),
    "416 in the middle, twice": partial(survives_without_resuming, status=416, since=50, cut_at=50, times=2),
    "416 always": partial(refused, by=("SourceRefused",), status=416),
    "burst of 503, at the beginning": partial(survives, status=503, times=3),
    "burst of 500, in the middle": partial(survives, status=500, since=30, times=6),
    "burst of 502, always": partial(refused, by=("ServerError",), retryable=True, seconds=120, status=502),
    "ETag changed while the fetcher was dead": another_file_during_a_resume,
    "ETag changed while the file came": another_file_while_it_comes,
    "ETag changed, sha256 in the spec": another_file_than_pinned,
    "another ETag in every answer": partial(survives_without_resuming, etag="fickle"),
    "weak ETag, closed at 50%": partial(survives_without_resuming, etag="weak", cut_at=50),
    "no ETag, closed at 50%": partial(survives_without_resuming, etag="none", cut_at=50),
    "no ranges, closed at 50%": partial(survives_without_resuming, ranges="no", cut_at=50),
    "no Content-Length": partial(survives_without_resuming, chunked="yes"),
    "Content-Length too long, always": partial(refused, by=("FormatRefused",), length=1000, ranges="no"),
    "Content-Length too short, always": partial(
        refused, by=("Truncated",), retryable=True, length=-1000, ranges="no"
    ),
    "Content-Length of ranges too short, four times": partial(survives, length=-1000, since=20, times=4),
    "Content-Range: another start": partial(survives_without_resuming, range_lie="start"),
    "Content-Range: another total": partial(survives_without_resuming, range_lie="total", since=10, times=3),
    "Content-Range: none": partial(survives_without_resuming, range_lie="missing"),
    "compressed body": partial(
        refused, by=("SourceRefused", "FormatRefused", "ServerError"), seconds=60, encoding="gzip"
    ),
    "login page instead of the file": partial(
        refused, by=("FormatRefused", "SourceRefused"), seconds=60, html="yes"
    ),
    "redirect to another host": redirected,
    "redirect to another host with a Secret of its own": partial(redirected_with_a_secret_there, tls="https"),
    "redirect to another host with a Secret of its own, plain http": partial(
        redirected_with_a_secret_there, tls=""
    ),
    "redirect to another port, over TLS": partial(redirected, host=HOST, tls="https"),
    "redirect from https to http": redirected_to_plain_http,
    "redirect to a link-local address": partial(
        refused, by=("AddressRefused",), seconds=30, redirect="http://169.254.169.254/latest/meta-data/"
    ),
    "redirect to a link-local address, IPv4 in IPv6": partial(
        refused,
        by=("AddressRefused",),
        seconds=30,
        redirect="http://[::ffff:169.254.169.254]/latest/meta-data/",
    ),
    "redirect loop": partial(refused, by=("SourceRefused",), seconds=30, redirect="loop"),
    "loopback, not allowed": not_allowed,
    "TLS: unknown authority": partial(tls, certificate="https", trusted=False),
    "TLS: expired": partial(tls, certificate="expired", trusted=True),
    "TLS: another name": partial(tls, certificate="misnamed", trusted=True),
    "TLS: authority given": partial(tls, certificate="https", trusted=True),
    "Secret rotated in time": rotated_in_time,
    "Secret rotated late": rotated_late,
    "Basic authentication": basic,
    "first source 404, mirror good": partial(mirrored, status=404),
    "first source another file, mirror good": partial(mirrored, swap=ANOTHER),
}
