"""YAML in the pages says what it is, so that tests/e2e/test_docs.py can try all of it on a cluster."""

import json
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.docs import doc_pages
from tests.unit.docs.doc_pages import Block

BLOCKS = doc_pages.yaml_blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_is_manifests_a_part_of_one_or_values(block: Block) -> None:
    documents = [each for each in yaml.safe_load_all(block.text) if each is not None]
    assert documents
    if doc_pages.FRAGMENT.fullmatch(block.info) or doc_pages.chart_of(block):
        assert len(documents) == 1
        return
    assert block.info == "yaml", f"{block.info!r}: yaml, yaml KIND.spec, or yaml values CHART"
    for each in documents:
        assert {"apiVersion", "kind", "metadata"} <= set(each), (
            "a part of an object says of which: yaml KIND.spec"
        )


def hides_yaml(block: Block) -> bool:
    """Whether a block that does not say what it is reads as mappings, or lists of them; JSON may."""
    if block.info or block.text.lstrip().startswith("{"):
        return False
    try:
        documents = [each for each in yaml.safe_load_all(block.text) if each is not None]
    except yaml.YAMLError:
        return False
    first = [each[0] if isinstance(each, list) and each else each for each in documents]
    return bool(first) and all(isinstance(each, dict) for each in first)


def test_no_yaml_hides_in_an_indented_block() -> None:
    blocks = [block for page in doc_pages.pages() for block in doc_pages.blocks(page)]
    assert [block.name for block in blocks if hides_yaml(block)] == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("override:\n  values: {global: {imageRegistry: r}}\n", True),
        ("apiVersion: v1\nkind: Secret\n---\napiVersion: v1\nkind: Pod\n", True),
        ("# Of a spec.\n- name: a\n  type: VAE\n", True),
        ('{"revision": "1", "options": {}}\n', False),
        ("kubectl get sdi --watch    # until it is Ready\n", False),
        ("curl -su a:b localhost:7860/x -H 'Content-Type: application/json' -d '{\"a\": 1}'\n", False),
        ("for name in a b; do\n  echo $name\ndone\n", False),
    ],
)
def test_mappings_are_told_from_commands(text: str, hidden: bool) -> None:
    assert hides_yaml(Block(doc_pages.ROOT / "README.md", 1, "", text)) is hidden


def laid_over(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A chart's values with those of a page; the page's have to be there, also where a schema is open."""
    assert set(values) <= set(defaults)
    return defaults | {
        key: laid_over(value, defaults[key]) if isinstance(value, dict) else value
        for key, value in values.items()
    }


PLANS = [
    block
    for block in BLOCKS
    if (part := doc_pages.FRAGMENT.fullmatch(block.info)) and part["kind"] == "ComponentPlan"
]


@pytest.mark.parametrize("block", PLANS, ids=lambda block: block.name)
def test_a_part_of_a_plan_is_of_kubebbs_api_and_every_chart_takes_its_values(block: Block) -> None:
    """No cluster of the tests has this kind: tests/e2e/test_docs.py leaves it out."""
    charts = doc_pages.ROOT / "charts"
    api = json.loads((doc_pages.ROOT / "tests/unit/charts/kubebb_api.json").read_text())
    (plan,) = doc_pages.manifests(block)
    schema = api["definitions"]["ComponentPlan"] | {"definitions": api["definitions"]}
    assert not list(jsonschema.Draft7Validator(schema).iter_errors(plan))
    for path in sorted(charts.glob("*/values.yaml")):
        values = laid_over(plan["spec"]["override"]["values"], yaml.safe_load(path.read_text()))
        taken = jsonschema.Draft7Validator(json.loads(path.with_name("values.schema.json").read_text()))
        assert not list(taken.iter_errors(values)), path.parent.name
