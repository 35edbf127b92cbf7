"""Markdown as the tests of the documentation see it: pages, their headings, links and blocks of code."""

import itertools
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = pathlib.Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Block:
    """A block of code; `info` is what stands behind its fence's backticks, "" of an indented one."""

    page: pathlib.Path
    line: int
    info: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[pathlib.Path]:
    """Every page that people read: the site's."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for folder in (
        "charts",
        "examples",
        "kustomize",
        "demo",
        "benchmarks",
        "operator",
        "runtime",
        "modelfiles",
        "hack",
    ):
        found += (ROOT / folder).rglob("README.md")
    return sorted(found)


def tokens(path: pathlib.Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text())


def blocks(path: pathlib.Path) -> list[Block]:
    return [
        Block(path, (token.map or [0])[0] + 1, token.info.strip(), token.content)
        for token in tokens(path)
        if token.type in ("fence", "code_block")
    ]


def links(path: pathlib.Path) -> Iterator[str]:
    """Targets of links and pictures."""
    for token in tokens(path):
        for child in token.children or []:
            target = child.attrGet("href") if child.type == "link_open" else None
            if child.type == "image":
                target = child.attrGet("src")
            if isinstance(target, str):
                yield target


def anchors(path: pathlib.Path) -> set[str]:
    """The anchors that a Git forge makes of headings."""
    found: set[str] = set()
    listed = tokens(path)
    for heading, inline in itertools.pairwise(listed):
        if heading.type != "heading_open":
            continue
        words = "".join(
            child.content for child in inline.children or [] if child.type in ("text", "code_inline")
        )
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        number, whole = 0, slug
        while whole in found:
            number += 1
            whole = f"{slug}-{number}"
        found.add(whole)
    return found


#: The kinds that a page shows parts of, with the least that is whole, for parts to be put into.
LEAST: dict[str, dict[str, Any]] = {
    "SDInstance": {
        "models": [{"name": "sd15"}],
        "checkpoint": {"bundle": "sd15", "file": "base"},
        "access": {"authSecretRef": {"name": "users"}},
    },
    "ModelBundle": {
        "files": [
            {
                "name": "base",
                "type": "Checkpoint",
                "source": {"http": {"url": "https://example.org/a.safetensors"}},
            }
        ],
        "storage": {"size": "1Gi"},
    },
    "SDPlugin": {"image": "registry.example.org/plugin:1", "kind": "Preprocessor"},
    "ComponentPlan": {
        "component": {"namespace": "kubebb-system", "name": "marketplace.sd-operator"},
        "version": "1.2.3",
        "name": "part",
        "approved": True,
    },
}
#: Of those that are not this project's.
GROUPS = {"ComponentPlan": "core.kubebb.k8s.com.cn/v1alpha1"}

#: What YAML of a page is, by the info behind its fence: whole manifests (`yaml`), a part of an object
#: (`yaml SDInstance.spec`), values of a chart (`yaml values sd-operator`; in a chart's README also `yaml`).
FRAGMENT = re.compile(rf"yaml (?P<kind>{'|'.join(LEAST)})\.spec")
VALUES = re.compile(r"yaml values (?P<chart>sd-[a-z-]+)")


def yaml_blocks() -> list[Block]:
    """Every fence of YAML in the pages."""
    return [
        block for page in pages() for block in blocks(page) if block.info.split(" ")[0] in ("yaml", "yml")
    ]


def chart_of(block: Block) -> str:
    """The chart that a block has values of; "" where it has none."""
    told = VALUES.fullmatch(block.info)
    if told:
        return told["chart"]
    in_a_chart = block.page.parent.parent == ROOT / "charts" and not FRAGMENT.fullmatch(block.info)
    whole = all(isinstance(each, dict) and "kind" in each for each in yaml.safe_load_all(block.text))
    return block.page.parent.name if in_a_chart and not whole else ""


def manifests(block: Block) -> list[dict[str, Any]]:
    """What is to be applied of a block: its objects, or the object that a part is put into."""
    documents = [each for each in yaml.safe_load_all(block.text) if each is not None]
    part = FRAGMENT.fullmatch(block.info)
    if not part:
        return documents
    kind = part["kind"]
    spec = LEAST[kind].copy()
    for key, value in documents[0].items():
        both = isinstance(value, dict) and isinstance(spec.get(key), dict)
        spec[key] = {**spec[key], **value} if both else value
    version = GROUPS.get(kind, "sdoperator.dev/v1alpha1")
    return [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "part", "namespace": "part"}, "spec": spec}
    ]
