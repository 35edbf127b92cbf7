"""How many threads a container's networks get."""

import os
from pathlib import Path

import pytest

from sd_plugin import processors


@pytest.mark.parametrize(
    ("files", "machine", "threads"),
    [
        ({"cpu.max": "max 100000\n"}, 4, 4),
        ({"cpu.max": "200000 100000\n"}, 4, 2),
        ({"cpu.max": "150000 100000\n"}, 4, 2),
        ({"cpu.max": "10000 100000\n"}, 4, 1),
        ({"cpu.max": "800000 100000\n"}, 4, 4),
        ({"cpu.max": "max 100000\n"}, 64, 8),
        ({"cpu.max": "nothing that is known"}, 3, 3),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4, 4),
        ({"cpu/cpu.cfs_quota_us": "150000\n"}, 4, 4),
        ({}, 3, 3),
    ],
)
def test_the_container_s_limit_counts_and_not_the_machine(
    files: dict[str, str], machine: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(machine)))
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert processors.threads(tmp_path) == threads
