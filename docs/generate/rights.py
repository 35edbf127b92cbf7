"""docs/rbac.md: every right in the roles that the chart makes, with its reason.

The reasons are the comments above the rules in the chart's templates, which Helm leaves in what it renders.
A rule without one is an error: a right that nobody can give a reason for is one too many.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

_ROOT: Final = Path(__file__).resolve().parents[2]
_HEADER: Final = """\
# Every right of the operator, and why

Generated from what `charts/sd-operator` renders (`make docs`); the reasons are the comments of its
templates. No role here has a wildcard. What the rights mean for security is in [security.md](security.md).

"""
#: Ways to install, each with what is set.
_WAYS: Final = (
    ("For the whole cluster", "The default.", ()),
    (
        "For one namespace",
        "With `watchNamespace: team`, in another namespace than the release's.",
        ("--set", "watchNamespace=team", "--set", "crds.install=false"),
    ),
)


class NoReason(Exception):
    """A rule of a role has no comment above it."""


@dataclass(frozen=True, slots=True)
class Right:
    """One rule of a role."""

    on: str
    verbs: str
    reason: str


@dataclass(frozen=True, slots=True)
class Role:
    """A role with the comments of its rules."""

    kind: str
    name: str
    namespace: str
    labels: dict[str, str]
    rights: tuple[Right, ...]


def document() -> str:
    """The page."""
    return _HEADER + "\n".join(line for way in _WAYS for line in _way(*way)).rstrip("\n") + "\n"


def render(*options: str) -> str:
    """What Helm makes of the chart, without a cluster."""
    helm = subprocess.run(
        ["hack/go-tool", "helm"], cwd=_ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    command = [helm, "template", "sd-operator", "charts/sd-operator", "--namespace", "sd-operator", *options]
    done = subprocess.run(command, cwd=_ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def roles(rendered: str) -> Iterator[Role]:
    """The roles of a rendered chart; NoReason names a rule without a comment."""
    for text in re.split(r"^---\s*$", rendered, flags=re.MULTILINE):
        found: dict[str, Any] | None = yaml.safe_load(text)
        if found and found["kind"] in ("Role", "ClusterRole"):
            meta = found["metadata"]
            yield Role(
                kind=found["kind"],
                name=meta["name"],
                namespace=meta.get("namespace", ""),
                labels=meta.get("labels", {}),
                rights=tuple(
                    _rights(
                        meta["name"],
                        text,
                        found.get("rules") or [],
                    )
                ),
            )


def _for_people(labels: dict[str, str]) -> bool:
    """Roles that the cluster's own view, edit and admin take in."""
    return any(key.startswith("rbac.authorization.k8s.io/aggregate-to-") for key in labels)


def _rights(role: str, text: str, rules: list[dict[str, Any]]) -> Iterator[Right]:
    reasons = _comments(text)
    if len(reasons) != len(rules):
        raise RuntimeError(f"{role}: {len(rules)} rules, {len(reasons)} of them found in its text")
    for rule, reason in zip(rules, reasons, strict=True):
        on = ", ".join(f"`{each}`" for each in _objects(rule))
        if not reason:
            raise NoReason(f"{role}: the rule for {on} has no comment above it that says why")
        yield Right(
            on=on,
            verbs=", ".join(rule["verbs"]),
            reason=reason,
        )


def _objects(rule: dict[str, Any]) -> Iterator[str]:
    """Resources as kubectl spells them, with the names that a rule is limited to."""
    for resource in rule.get("resources", []):
        plural, slash, below = resource.partition("/")
        for group in rule["apiGroups"]:
            whole = f"{plural}.{group}{slash}{below}" if group else resource
            names = rule.get("resourceNames")
            yield from [f"{whole} {name}" for name in names] if names else [whole]
    yield from rule.get("nonResourceURLs", [])


def _comments(text: str) -> list[str]:
    """Of each rule the comment directly above it."""
    found, comment = [], list[str]()
    for line in text.partition("\nrules:")[2].splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.strip().lstrip("# "))
        elif re.match(r"\s*- (apiGroups|nonResourceURLs|resources|verbs):", line):
            found.append(" ".join(comment))
            comment = []
        elif line.strip():
            comment = []
    return found


def _way(title: str, told: str, options: tuple[str, ...]) -> Iterator[str]:
    yield from (f"## {title}", "", told, "")
    for role in roles(render(*options)):
        where = f" in the namespace `{role.namespace}`" if role.namespace else ""
        yield from (f"### {role.kind} {role.name}{where.replace('`', '')}", "")
        if _for_people(role.labels):
            yield from (
                "For people, through the cluster's own roles of that name; the operator has no part in it.",
                "",
            )
        yield from ("| on | may | why |", "| --- | --- | --- |")
        yield from (f"| {right.on} | {right.verbs} | {_cell(right.reason)} |" for right in role.rights)
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
