"""What the fetch tells on its port while it goes on."""

import contextlib
import hashlib
import http.client
import json
import socket
import time

import pytest

from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.progress import Phase, Progress, serving

TOKEN = "token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
MIB = 1024 * 1024


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def ask(port, path="/v1/progress", token=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def progress():
    found = Progress()
    found.phase, found.source = Phase.FETCHING, "hub:a"
    found.reach(5, 10)
    return found


def test_progress_is_told_as_json(progress):
    with serving(progress, port=free_port(), token_sha256="") as port:
        status, body = ask(port)
    assert status == 200
    assert json.loads(body) == {
        "bytes": 5,
        "totalBytes": 10,
        "bytesPerSecond": 0.0,
        "phase": "Fetching",
        "source": "hub:a",
    }


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("other", 401), ("é", 401), (TOKEN, 200)])
def test_with_a_token_set_the_progress_is_not_told_without_it(progress, token, status):
    with serving(progress, port=free_port(), token_sha256=DIGEST) as port:
        found, body = ask(port, "/v1/progress", token)
        hidden = ask(port, "/", token)[0]
    assert found == status
    assert status == 200 or b"hub:a" not in body
    assert hidden == (404 if status == 200 else 401)


def test_scrapers_have_no_token_and_get_numbers_alone(progress):
    with serving(progress, port=free_port(), token_sha256=DIGEST) as port:
        found, body = ask(port, "/metrics")
    assert found == 200
    assert b"sdo_fetch_bytes_total" in body
    assert b"hub:a" not in body


def test_numbers_are_told_to_prometheus(progress):
    progress.received(100)
    progress.given_up(7)
    progress.resumed()
    progress.failed(FetchError("Timeout", ""))
    with serving(progress, port=free_port(), token_sha256="") as port:
        text = ask(port, "/metrics")[1].decode()
    assert "sdo_fetch_bytes_total 100.0" in text
    assert "sdo_fetch_refetched_bytes_total 7.0" in text
    assert "sdo_fetch_resumes_total 1.0" in text
    assert 'sdo_fetch_failed_attempts_total{reason="Timeout"} 1.0' in text


def test_another_path_is_told_what_there_is(progress):
    with serving(progress, port=free_port(), token_sha256="") as port:
        assert ask(port, "/")[0] == 404


def test_a_port_that_is_taken_or_unwanted_costs_only_the_answers(progress):
    with socket.create_server(("", 0), family=socket.AF_INET) as taken:
        for port in (taken.getsockname()[1], 0):
            with serving(progress, port=port, token_sha256="") as found:
                assert found == 0


def test_who_asks_and_says_nothing_does_not_keep_others_from_asking(progress):
    with serving(progress, port=free_port(), token_sha256="") as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        assert ask(port)[0] == 200
        for each in silent:
            each.close()


def test_a_crowd_is_turned_away_and_the_fetch_goes_on(progress):
    begun = time.monotonic()
    with serving(progress, port=free_port(), token_sha256="") as port:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        progress.received(1)
        for each in crowd:
            each.close()
    assert time.monotonic() - begun < 3


def test_who_asks_slowly_does_not_keep_a_place(progress):
    with serving(progress, port=free_port(), token_sha256="", seconds=0.5) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        begun, status = time.monotonic(), None
        while status is None and time.monotonic() - begun < 3:
            for each in slow:
                with contextlib.suppress(OSError):
                    each.sendall(b"G")
            time.sleep(0.1)
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = ask(port)[0]
        for each in slow:
            each.close()
    assert status == 200


def test_the_rate_is_that_of_the_last_seconds(progress):
    now = time.monotonic()
    progress._samples.clear()
    progress._samples.extend([(now - 4.0, 0), (now, 4000)])
    assert progress.told()["bytesPerSecond"] == pytest.approx(1000, rel=0.01)
    progress._samples.clear()
    progress._samples.extend([(now - 60.0, 0), (now - 50.0, 4000)])
    assert progress.told()["bytesPerSecond"] == 0.0


def test_a_fetch_tells_how_far_it_is(fetches, server, answer, made):
    server.content = made.checkpoint(size=8 * MIB)
    server.script += [answer.serve(), answer.serve(stall=MIB)]
    port = free_port()
    process = fetches.start(env={"SD_FETCH_PORT": str(port), "SD_FETCH_TOKEN_SHA256": DIGEST})
    fetches.wait_until(lambda: fetches.part.exists() and fetches.arrived() == MIB + 65536)
    time.sleep(0.2)
    status, body = ask(port, token=TOKEN)
    told = json.loads(body)
    assert status == 200
    assert (told["bytes"], told["totalBytes"]) == (MIB + 65536, len(server.content))
    assert (told["phase"], told["source"]) == ("Fetching", server.url)
    server.go_on.set()
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
