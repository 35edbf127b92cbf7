"""The pages as they lie in the repository: links as a Git forge follows them, and what the code says, too."""

import pathlib
import re
import subprocess
import tomllib
import urllib.parse

import pytest
import yaml

from docs.generate import __main__ as generate
from docs.generate import rights
from sd_operator.api.reasons import Reason
from sd_runtime.settings import Settings
from tests.unit.docs import doc_pages

ROOT = doc_pages.ROOT
PAGES = doc_pages.pages()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def identity(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_links_lead_to_files_of_the_repository_and_to_headings(page: pathlib.Path) -> None:
    known = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    there = {ROOT / name for name in known} | {parent for name in known for parent in (ROOT / name).parents}
    for link in doc_pages.links(page):
        parts = urllib.parse.urlsplit(link)
        if parts.scheme:
            continue
        path = urllib.parse.unquote(parts.path)
        target = (page.parent / path).resolve() if path else page
        assert target in there, f"{link}: no such file"
        if parts.fragment:
            assert urllib.parse.unquote(parts.fragment) in doc_pages.anchors(target), (
                f"{link}: no such heading"
            )


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_what_the_code_says_now(name: str) -> None:
    assert (generate.FOLDER / name).read_text() == generate.PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", ["README", "docs/quickstart"])
def test_a_translation_has_the_code_of_the_original(page: str) -> None:
    folder, _, name = page.rpartition("/")
    translated = ROOT / folder / "zh" / f"{name}.md" if folder else ROOT / f"{name}.zh.md"
    told = [(block.info, block.text) for block in doc_pages.blocks(translated)]
    assert told == [(block.info, block.text) for block in doc_pages.blocks(ROOT / f"{page}.md")]


@pytest.mark.parametrize("page", ["README", "docs/quickstart"])
def test_a_translation_has_the_parts_of_the_original(page: str) -> None:
    folder, _, name = page.rpartition("/")
    translated = ROOT / folder / "zh" / f"{name}.md" if folder else ROOT / f"{name}.zh.md"

    def levels(path: pathlib.Path) -> list[str]:
        return [token.tag for token in doc_pages.tokens(path) if token.type == "heading_open"]

    assert levels(translated) == levels(ROOT / f"{page}.md")


@pytest.mark.parametrize(
    "page", ["README.md", "README.zh.md", "docs/quickstart.md", "docs/zh/quickstart.md", "docs/gitops.md"]
)
def test_a_page_that_installs_says_the_oldest_kubernetes(page: str) -> None:
    line = re.search(r"^versions=\(v(\d+\.\d+)", (ROOT / "hack/kubernetes-schemas").read_text(), re.MULTILINE)
    assert line is not None
    assert f"Kubernetes {line[1]} or later" in (ROOT / "charts/sd-operator/README.md").read_text()
    assert re.search(rf"Kubernetes {line[1]} (or later|或更新)", (ROOT / page).read_text())


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_folder_of_plugins_is_made_before_anything_is_started_with_it(page: str) -> None:
    (item,) = [part for part in (ROOT / page).read_text().split("\n- ") if "--plugin-dir" in part]
    (folder,) = re.findall(r"--plugin-dir (\S+?)`", item)
    made, served = item.index(f"mkdir -p {folder}`"), item.index("sd-plugin serve")
    assert made < served and f"SD_PLUGIN_SOCKET={folder}/" in item


def test_images_in_the_docs_are_of_this_version() -> None:
    for page in [*PAGES, *(ROOT / "examples").glob("*.yaml")]:
        if page.name == "CHANGELOG.md":
            continue
        for version in re.findall(
            r"sd-operator/(?:operator|runtime|plugin-\w+):(\d[\w.-]*\w)", page.read_text()
        ):
            assert version == VERSION, identity(page)


def test_every_setting_of_the_runtime_is_documented() -> None:
    page = (ROOT / "docs/runtime.md").read_text()
    missing = [f"SD_{name.upper()}" for name in Settings.model_fields if f"`SD_{name.upper()}`" not in page]
    assert missing == []


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_says_what_to_do_and_where_to_look(reason: Reason) -> None:
    assert reason.meaning.endswith(".")
    assert reason.action.endswith(".")
    assert reason.look.startswith("kubectl ")
    assert "|" not in reason.look


def test_every_alert_has_its_place_in_the_runbook_and_no_other_is_there() -> None:
    alerts = yaml.safe_load((ROOT / "charts/sd-operator/files/alerts.yaml").read_text())
    named = {rule["alert"] for group in alerts["groups"] for rule in group["rules"]}
    part = (ROOT / "docs/runbook.md").read_text().partition("## Alerts")[2].partition("\n## ")[0]
    assert named == set(re.findall(r"^### (\w+)$", part, re.MULTILINE))


COMMANDS = [
    (page, " ".join(command.replace("\\\n", " ").split()))
    for page in PAGES
    for command in re.findall(r"helm (?:install|upgrade)\b(?:\\\n|[^\n`])*", page.read_text())
]


def test_a_command_that_installs_a_chart_says_where_the_images_are() -> None:
    """None are published."""
    installs = [(page, text) for page, text in COMMANDS if re.match(r"helm install \S+ charts/sd-", text)]
    assert len(installs) > 10
    registry = re.compile(r"--set (global\.imageRegistry|image\.registry)=REGISTRY")
    assert [f"{identity(page)}: {text}" for page, text in installs if not registry.search(text)] == []


def test_values_that_were_set_are_kept_by_what_takes_the_new_defaults_too() -> None:
    """With --reuse-values a chart has the old one's values alone, and its schema misses the new ones."""
    for page in [ROOT / "docs/runbook.md", *(ROOT / "charts").glob("sd-*/README.md")]:
        assert "`--reset-then-reuse-values`" in page.read_text(), identity(page)
    assert [f"{identity(page)}: {text}" for page, text in COMMANDS if "--reuse-values" in text.split()] == []


def test_the_page_of_settings_says_extra_env_of_those_only_that_the_chart_leaves_to_it() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    left = set(re.findall(r"^\| `(\w+)` \|[^|]*\| `extraEnv` \|", page, re.MULTILINE))
    assert left == {"SDO_WORKERS", "SDO_RECHECK_SECONDS", "SDO_AUDIT_SECONDS"}


def test_a_right_without_a_reason_is_refused() -> None:
    role = """
kind: Role
metadata: {name: r}
rules:
# Why.
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
"""
    with pytest.raises(rights.NoReason, match="r: the rule for `secrets`"):
        list(rights.roles(role))


def test_no_role_of_the_chart_has_a_wildcard() -> None:
    for role in rights.roles(rights.render()):
        assert all("*" not in right.on and "*" not in right.verbs for right in role.rights), role.name
