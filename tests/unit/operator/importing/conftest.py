"""A folder to fill, and the importer run on it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from import_folders import Folder, Outcome, Run, assert_accepted

from sd_operator.bundle.__main__ import main


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "webui"
    root.mkdir()
    return Folder(root)


@pytest.fixture
def run(folder: Folder, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, of: Path | None = None) -> Outcome:
        code = main([str(of or folder.root), "--claim", "old-models", *arguments])
        captured = capsys.readouterr()
        outcome = Outcome(code, captured.out, captured.err)
        if code == 0:
            for manifest in outcome.manifests:
                assert_accepted(manifest)
        return outcome

    return run
