"""With what every pod that the operator makes may be pulled."""

import pytest

from sd_operator.api.kubernetes import LocalObjectReference
from sd_operator.manifests import pull_secrets


@pytest.mark.parametrize(
    ("own", "defaults", "found"),
    [
        (None, (), []),
        (None, ("mirror",), ["mirror"]),
        (("mine",), (), ["mine"]),
        (("mine",), ("mirror",), ["mine", "mirror"]),
        (("mirror",), ("other", "mirror"), ["mirror", "other"]),
    ],
    ids=["none", "settings'", "own", "both", "one in both"],
)
def test_those_of_the_settings_are_added_to_those_of_the_spec(
    own: tuple[str, ...] | None, defaults: tuple[str, ...], found: list[str]
) -> None:
    references = None if own is None else tuple(LocalObjectReference(name=name) for name in own)
    assert pull_secrets(references, defaults) == [{"name": name} for name in found]
