"""Which specs and claims a bundle cannot be worked on with, and who uses one."""

import datetime
from dataclasses import replace
from typing import Any

import pytest
from bundle_jobs import (
    a_bundle,
    a_claim,
)
from operator_fakes import file

from sd_operator import names
from sd_operator.bundle import refusals
from sd_operator.bundle.observe import Observed
from sd_operator.names import Key


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        pytest.param([file()], None, "", id="a plain file"),
        pytest.param(
            [file("a", source={"http": {"url": "https://x.org/get?file=1"}})],
            "InvalidSpec",
            "spec.files[a].fileName: 'get'",
            id="an address that ends in no file name",
        ),
        pytest.param(
            [file("a", source={"http": {"url": "http://[a/x.safetensors"}})],
            "InvalidSpec",
            "spec.files[a].source.http.url: 'http://[a/x.safetensors'",
            id="an address with half a bracket",
        ),
        pytest.param(
            [file("a", source={"http": {"url": "http://ex\u2100mple/x.safetensors"}})],
            "InvalidSpec",
            "spec.files[a].source.http.url",
            id="a host that means another one",
        ),
        pytest.param(
            [file("a", source={"http": {"url": "http://x.org:99999/x.safetensors"}})],
            "InvalidSpec",
            "Port out of range",
            id="a port that is none",
        ),
        pytest.param(
            [file("a", source={"http": {"url": "http:///x.safetensors"}}, fileName="x.safetensors")],
            "InvalidSpec",
            "names no host",
            id="an address without a host",
        ),
        pytest.param(
            [file("a", source={"http": {"url": "https://x.org/m.safetensors%0A"}})],
            "InvalidSpec",
            "spec.files[a].fileName",
            id="a name that ends in a line break",
        ),
        pytest.param(
            [file("a", source={"http": {"url": "https://x.org/m.ckpt"}})],
            "InvalidSpec",
            "set formatPolicy to ScanPickle",
            id="another format",
        ),
        pytest.param(
            [file("a", fileName="x.safetensors"), file("b", fileName="x.safetensors")],
            "PathConflict",
            "models/Stable-diffusion/x.safetensors",
            id="two files for one place",
        ),
        pytest.param(
            [
                file(
                    "a",
                    source={"huggingFace": {"repo": "o/r", "revision": "main", "path": "d/m%20.safetensors"}},
                )
            ],
            "InvalidSpec",
            "'m%20.safetensors'",
            id="a name with characters no volume should have",
        ),
    ],
)
def test_a_spec_that_cannot_be_done_is_refused(
    files: list[dict[str, Any]], reason: str | None, words: str
) -> None:
    refused = refusals.of_spec(a_bundle(files=files))
    assert (refused.reason if refused else None) == reason
    assert refused is None or (refused.state.value == "Stalled" and words in refused.message)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (None, None),
        (a_claim(), None),
        (a_claim(labels={}), ("Stalled", "NameTaken")),
        (a_claim(labels={names.LABEL_SD_BUNDLE: "another"}), ("Stalled", "NameTaken")),
        (a_claim(deletionTimestamp="2026-01-01T00:00:00Z"), ("Reconciling", "WaitingForDeletion")),
        ({**a_claim(), "status": {"phase": "Lost"}}, ("Stalled", "VolumeLost")),
    ],
    ids=["none yet", "ours", "a stranger's", "another bundle's", "going", "lost"],
)
def test_a_claim_that_cannot_be_used(claim: dict[str, Any] | None, expected: tuple[str, str] | None) -> None:
    observed = Observed(bundle=a_bundle(), now=datetime.datetime.now(tz=datetime.UTC), claim=claim)
    refused = refusals.of_claim(observed)
    assert (None if refused is None else (refused.state.value, refused.reason)) == expected


def test_users_are_found_even_among_objects_that_cannot_be_read() -> None:
    def user(name: str, spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "ns"}, "spec": spec}

    instances = [
        user("b", {"models": [{"name": "sd15"}]}),
        user("a", {"models": [{"name": "x"}, {"name": "sd15"}]}),
        user("c", {"models": [{"name": "other"}]}),
        user("d", None),
        user("e", {"models": "sd15"}),
        user("f", {"models": [None, {"name": 5}]}),
        user("g", {"plugins": [None, {"name": "aux"}]}),
        user("h", {"plugins": [{"name": "aux", "scope": "Catalog"}]}),
        user("i", {"plugins": [{"name": "of-nobody", "scope": 5}]}),
    ]
    needs = {"spec": {"models": [{"name": "sd15"}]}}
    plugins = {Key("SDPlugin", "ns", "aux"): needs, Key("SDPlugin", "elsewhere", "of-nobody"): needs}
    world = Observed(
        bundle=a_bundle(),
        now=datetime.datetime.now(tz=datetime.UTC),
        neighbours=tuple(instances),
        plugins=plugins,
        catalog="catalog",
    )
    assert world.users == ("a", "b", "g")
    for_all = {Key("SDPlugin", "catalog", "aux"): needs}
    assert replace(world, plugins=for_all).users == ("a", "b", "h")
