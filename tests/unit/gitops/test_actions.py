"""What Argo CD's buttons do to our objects: what the tables beside the scripts say, and no more."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sd_operator import names

ROOT = Path(__file__).parents[3]
ARGOCD = ROOT / "examples/gitops/argocd/resource_customizations/sdoperator.dev"
TABLES = sorted(ARGOCD.glob("*/actions/action_test.yaml"))
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

Manifest = dict[str, Any]


def load(path: Path) -> Manifest:
    """As JSON has it: times are text."""
    text = json.dumps(yaml.safe_load(path.read_text()), default=lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}")
    loaded: Manifest = json.loads(text)
    return loaded


def rows(part: str) -> list[Any]:
    return [
        pytest.param(
            path.parent, row, id=f"{path.parent.parent.name} {row.get('action', '')} {row['inputPath']}"
        )
        for path in TABLES
        for row in yaml.safe_load(path.read_text())[part]
    ]


@pytest.mark.parametrize(("folder", "row"), rows("discoveryTests"))
def test_actions_are_offered(judge: Any, folder: Path, row: Manifest) -> None:
    (found,) = judge("discovery", folder / "discovery.lua", objects=[load(folder / row["inputPath"])])
    assert found == {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in row["result"]}


@pytest.mark.parametrize(("folder", "row"), rows("actionTests"))
def test_an_action_changes_what_it_says_and_nothing_else(judge: Any, folder: Path, row: Manifest) -> None:
    before = load(folder / row["inputPath"])
    (found,) = judge("action", folder / row["action"] / "action.lua", objects=[before])
    stamp = (found["metadata"].get("annotations") or {}).get("sdoperator.dev/verify")
    if row["action"] == "verify":
        assert re.fullmatch(TIME, stamp)
        found["metadata"]["annotations"]["sdoperator.dev/verify"] = "0001-01-01T00:00:00Z"
    assert found == load(folder / row["expectedOutputPath"])
    assert found != before


def test_every_action_is_offered_and_tried() -> None:
    scripts = {f"{path.parts[-4]} {path.parent.name}" for path in ARGOCD.glob("*/actions/*/action.lua")}
    offered = {
        f"{p.values[0].parent.name} {r['name']}"
        for p in rows("discoveryTests")
        for r in p.values[1]["result"]
    }
    tried = {f"{p.values[0].parent.name} {p.values[1]['action']}" for p in rows("actionTests")}
    assert scripts == offered == tried == {"SDInstance suspend", "SDInstance resume", "ModelBundle verify"}


def test_the_verify_action_sets_what_the_operator_reads() -> None:
    assert names.ANNOTATION_VERIFY in (ARGOCD / "ModelBundle/actions/verify/action.lua").read_text()
