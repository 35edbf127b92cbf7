"""Nodes have many more processors than a test's machine: what libraries set aside for each of them is not
taken from what a plugin may use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from plugin_processes import body, client, supervised, until

from sd_plugin import child, processors

_LIMIT = {"SD_PLUGIN_MEMORY_BYTES": str(1 << 30)}
#: Has libraries find 64 processors.
_SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>
long sysconf(int name) {
    if (name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF) return 64;
    return ((long (*)(int))dlsym(RTLD_NEXT, "sysconf"))(name);
}
int sched_getaffinity(pid_t process, size_t size, cpu_set_t *mask) {
    CPU_ZERO_S(size, mask);
    for (int each = 0; each < 64; each++) CPU_SET_S(each, size, mask);
    return 0;
}
int pthread_getaffinity_np(unsigned long thread, size_t size, cpu_set_t *mask) {
    return sched_getaffinity(0, size, mask);
}
int get_nprocs(void) { return 64; }
int get_nprocs_conf(void) { return 64; }
"""


@pytest.fixture
def many_processors(tmp_path: Path) -> dict[str, str]:
    """The environment of processes that find 64."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler is here to make the library that tells of more processors")
    source, library = tmp_path / "processors.c", tmp_path / "processors.so"
    source.write_text(_SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize(
    "own", [{}, {"OPENBLAS_NUM_THREADS": "64"}], ids=["as it is", "as an admin asks for"]
)
def test_a_small_container_serves_on_a_large_node(
    own: dict[str, str], many_processors: dict[str, str], socket: Path
) -> None:
    with supervised("basic", socket, **_LIMIT, **many_processors, **own) as running:
        until(lambda: running.serves() or "another is started" in running.log(), "a worker, or its end")
        assert "another is started" not in running.log()
        with client(socket) as asking:
            assert asking.post("/v1/run/canny", content=body(512, 512)).status_code == 200


def test_what_is_mapped_and_never_used_is_not_taken_from_a_run(socket: Path) -> None:
    with supervised("maps_much:plugin", socket, **_LIMIT) as running, client(socket) as asking:
        until(running.serves, "a worker")
        assert asking.post("/v1/run/plain", content=body(500, 500)).status_code == 200
        # It is not added either.
        answer = asking.post("/v1/run/plain", content=body(parameters=b'{"strength": 2}'))
        assert "it needs more memory than there is" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("own", "threads"),
    [
        ({}, (str(processors.threads()), "1")),
        ({"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}, ("3", "2")),
    ],
)
def test_a_worker_s_libraries_have_the_container_s_threads_or_those_asked_for(
    own: dict[str, str], threads: tuple[str, str], socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in child.libraries():
        monkeypatch.delenv(name, raising=False)
    with supervised("plain:plugin", socket, **own) as running:
        until(running.serves, "a worker")
        (worker,) = running.workers()
        found = dict(
            each.split("=", 1) for each in Path(f"/proc/{worker}/environ").read_text().split("\0") if each
        )
    assert (found["OMP_NUM_THREADS"], found["OPENBLAS_NUM_THREADS"]) == threads
