"""Every shipped example is accepted by the API server as it is written."""

import pathlib

import pytest
from cluster import Kube

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_takes_the_example(kube: Kube, path: pathlib.Path) -> None:
    text = path.read_text().replace("namespace: sd-demo", f"namespace: {kube.namespace}")
    out = kube.run("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert out.count("(server dry run)") == text.count("\nkind:")


def test_the_readme_example_is_an_example() -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = [block.split("```")[0].strip() for block in readme.split("```yaml\n")[1:]]
    body = (ROOT / "examples" / "sd15.yaml").read_text().split("\n", 2)[2].strip()
    assert body in blocks
