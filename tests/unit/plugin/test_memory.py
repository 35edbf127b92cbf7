"""A run that needs more memory than the container has costs that run, not the container."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugin_processes import body, client, supervised, until

from sd_plugin import memory

_MB = 1 << 20


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"memory.max": "4294967296\n"}, 4096 * _MB),
        ({"memory.max": "max\n"}, None),
        ({"memory.limit_in_bytes": "268435456\n"}, 256 * _MB),
        ({"memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"memory.max": "max\n", "memory.limit_in_bytes": "1048576"}, _MB),
        ({}, None),
    ],
)
def test_the_containers_limit_is_what_its_cgroup_says(
    files: dict[str, str], most: int | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    places = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    assert memory.of_container(places) == most


@pytest.mark.parametrize(("most", "share"), [(4096, 4032), (256, 192), (100, 50)])
def test_something_is_left_for_the_supervisor(most: int, share: int) -> None:
    assert memory.share(most * _MB) == share * _MB


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("OpenCV(5.0.0) alloc.cpp: error: (-4:Insufficient memory) Failed to allocate 9"), True),
        (RuntimeError("a tensor of the wrong kind"), False),
    ],
)
def test_what_libraries_say_of_it_is_understood(error: Exception, short: bool) -> None:
    assert memory.is_short(error) is short


def test_a_run_for_which_there_is_too_little_fails_alone_and_says_so(socket: Path) -> None:
    limit = {"SD_PLUGIN_MEMORY_BYTES": str(512 * _MB)}
    with supervised("takes_memory:plugin", socket, **limit) as running, client(socket) as asking:
        until(running.serves, "a worker")
        before = running.workers()
        answer = asking.post("/v1/run/plain", content=body(parameters=b'{"strength": 2}'))
        assert (answer.status_code, answer.json()["error"]) == (500, "ModuleFailed")
        assert answer.json()["detail"].startswith("plain failed: it needs more memory than there is")
        assert asking.post("/v1/run/plain", content=body()).status_code == 200
        assert running.workers() == before


def test_a_limit_that_is_no_number_is_named(socket: Path) -> None:
    with supervised("plain:plugin", socket, SD_PLUGIN_MEMORY_BYTES="1Gi") as running:
        told = "SD_PLUGIN_MEMORY_BYTES: '1Gi' is not accepted; allowed: a whole number of bytes above 0"
        until(lambda: told in running.log(), "the log to name it")
