"""What GPU memory a pod needs, which profile gives it, and what is said and written of the choice."""

import json
from dataclasses import replace
from typing import Any

import pytest
from operator_fakes import SHA, instance

from sd_operator import names
from sd_operator.api.base import parse
from sd_operator.api.gpu import Gpu
from sd_operator.api.instance import SDInstance, SDInstanceSpec
from sd_operator.errors import ManifestError
from sd_operator.gpu_profiles import GpuSettings, Profile, parse_profiles
from sd_operator.instance import gpu
from sd_operator.instance.desired import Checkpoint
from sd_operator.instance.gpu import Allocation, Need, Node, Offers, Previous, Refusal

GIB = 2**30
MIB = 2**20
SETTINGS = GpuSettings()
UNKNOWN = Offers(known=False)


def checkpoint(family: str = "SD15") -> Checkpoint:
    return Checkpoint(bundle="b", file="f", path="p", sha256=SHA, size=1, family=family)


def spec(**given: Any) -> SDInstanceSpec:
    manifest = instance(**given)
    manifest["metadata"]["uid"] = "instance-uid"
    return parse(SDInstance, manifest).spec


def profiles(*given: dict[str, Any]) -> tuple[Profile, ...]:
    return parse_profiles(list(given))


def needing(memory: int) -> Need:
    return Need(bytes=memory, breakdown=(("spec.gpu.memory", memory),))


# --- the need


@pytest.mark.parametrize(
    ("given", "family", "settings", "text", "breakdown"),
    [
        pytest.param(
            Gpu(), "SD15", SETTINGS, "4608Mi", (("SD15 base", 4 * GIB), ("headroom", GIB // 2)), id="SD 1.5"
        ),
        pytest.param(
            Gpu(), "SDXL", SETTINGS, "8704Mi", (("SDXL base", 8 * GIB), ("headroom", GIB // 2)), id="SDXL"
        ),
        pytest.param(
            Gpu(),
            "Flux",
            SETTINGS,
            "8704Mi",
            (("Flux base", 8 * GIB), ("headroom", GIB // 2)),
            id="a family that no setting names needs as much as the largest",
        ),
        pytest.param(
            Gpu(),
            "",
            SETTINGS,
            "8704Mi",
            (("unknown family base", 8 * GIB), ("headroom", GIB // 2)),
            id="a checkpoint of which no family is told",
        ),
        pytest.param(
            Gpu(),
            "SD15",
            GpuSettings(headroom="0", family_memory={"SD15": "5G"}),
            "4769Mi",
            (("SD15 base", 4769 * MIB),),
            id="the settings' numbers, rounded up to MiB",
        ),
        pytest.param(
            Gpu(memory="6Gi"),
            "SDXL",
            SETTINGS,
            "6Gi",
            (("spec.gpu.memory", 6 * GIB),),
            id="what the spec says is exactly what is asked for",
        ),
        pytest.param(
            Gpu(memory="1"),
            "SDXL",
            SETTINGS,
            "1Mi",
            (("spec.gpu.memory", MIB),),
            id="but in whole MiB",
        ),
    ],
)
def test_the_need(
    given: Gpu, family: str, settings: GpuSettings, text: str, breakdown: tuple[tuple[str, int], ...]
) -> None:
    found = gpu.need(given, checkpoint(family), settings)
    assert found.text == text
    assert found.breakdown == breakdown
    assert found.bytes == sum(size for _, size in breakdown)


def test_memory_that_the_schema_should_have_refused_is_named() -> None:
    with pytest.raises(ManifestError, match=r"spec\.gpu\.memory: .*'0'"):
        gpu.need(Gpu(memory="0"), checkpoint(), SETTINGS)


# --- the choice

SMALL = {"name": "small", "backend": "MIG", "resource": "nvidia.com/mig-1g.5gb", "memory": "4.75Gi"}
MIDDLE = {"name": "middle", "backend": "MIG", "resource": "nvidia.com/mig-1g.10gb", "memory": "9.5Gi"}
LARGE = {"name": "large", "backend": "MIG", "resource": "nvidia.com/mig-3g.40gb", "memory": "39.25Gi"}
CARD = {"name": "card", "backend": "Whole", "memory": "24Gi"}
CLAIM = {"name": "claim", "backend": "DRA", "memory": "80Gi"}
ALL = profiles(CARD, LARGE, MIDDLE, SMALL, CLAIM)

GPU = "nvidia.com/gpu"
DRIVER = frozenset({"gpu.nvidia.com"})


def node(*resources: str, **labels: str) -> Node:
    return Node(frozenset(resources), frozenset(labels.items()))


def on(*nodes: Node) -> Offers:
    return Offers(nodes=frozenset(nodes))


CARDS = on(node(GPU))
MIDDLES = on(node(GPU), node("nvidia.com/mig-1g.10gb"))
SLICES = on(node("nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.10gb"), node("nvidia.com/mig-3g.40gb"))
EVERYTHING = Offers(nodes=on(node(GPU, "nvidia.com/mig-1g.5gb")).nodes, device_classes=DRIVER, drivers=DRIVER)
NOTHING = Offers()
HIDDEN = replace(EVERYTHING, known=False)
CLASS_WITHOUT_DRIVER = Offers(nodes=CARDS.nodes, device_classes=DRIVER)
DRIVER_WITHOUT_CLASS = Offers(nodes=CARDS.nodes, drivers=DRIVER)
SLICES_AND_CLAIMS = replace(SLICES, device_classes=DRIVER, drivers=DRIVER)
ONLY_LARGE = on(node("nvidia.com/mig-3g.40gb"))
ONLY_SMALL = on(node("nvidia.com/mig-1g.5gb"))

LARGER_THAN_CLAIMS = profiles(CARD, CLAIM, {**LARGE, "memory": "90Gi"})
CARD_NAMED_MIDDLE = profiles({**CARD, "name": "middle"}, SMALL)
TWO_CARDS = profiles({**CARD, "name": "a100", "memory": "80Gi"}, CARD)
EQUALS = profiles({**LARGE, "name": "b", "memory": "5Gi"}, {**MIDDLE, "name": "a", "memory": "5Gi"})
#: One resource, told apart by a label of the nodes.
POOLS = profiles(
    {**CARD, "name": "l4", "memory": "22Gi", "nodeSelector": {"pool": "l4"}},
    {**CARD, "name": "a100", "memory": "80Gi", "nodeSelector": {"pool": "a100"}},
)
SLICE_POOLS = profiles(
    {**SMALL, "name": "a", "nodeSelector": {"pool": "a"}},
    {**SMALL, "name": "b", "memory": "9Gi", "nodeSelector": {"pool": "b"}},
)
TOLD = profiles({**CARD, "memoryLabel": "mib"}, {**CARD, "name": "a100", "memory": "80Gi"})

CHOICES: dict[str, tuple[Any, int, tuple[Profile, ...], Offers, str | None]] = {
    "None takes nothing": ("None", 4608, ALL, EVERYTHING, None),
    "Auto: DRA before all": ("Auto", 4608, ALL, EVERYTHING, "claim"),
    "Auto: no DRA device that is too small": ("Auto", 90000, LARGER_THAN_CLAIMS, SLICES_AND_CLAIMS, "large"),
    "Auto: no class whose driver is on no node": ("Auto", 4608, ALL, CLASS_WITHOUT_DRIVER, "card"),
    "Auto: no driver without the class": ("Auto", 4608, ALL, DRIVER_WITHOUT_CLASS, "card"),
    "Auto: then the smallest slice": ("Auto", 4608, ALL, SLICES, "small"),
    "Auto: the smallest slice that is offered": ("Auto", 4608, ALL, MIDDLES, "middle"),
    "Auto: no slice that is too small": ("Auto", 9999, ALL, MIDDLES, "card"),
    "Auto: else a whole GPU": ("Auto", 4608, ALL, CARDS, "card"),
    "Auto: a whole GPU is waited for": ("Auto", 4608, ALL, NOTHING, "card?"),
    "Auto: a whole GPU where the operator may not look": ("Auto", 4608, ALL, UNKNOWN, "card?"),
    "Auto: what the operator may not look at counts for nothing": ("Auto", 4608, ALL, HIDDEN, "card?"),
    "Auto: what alone is large enough is waited for": ("Auto", 30000, ALL, UNKNOWN, "large?"),
    "Auto: a claim last": ("Auto", 60000, ALL, UNKNOWN, "claim?"),
    "Auto: a table without whole GPUs": ("Auto", 4608, profiles(MIDDLE, SMALL), NOTHING, "small?"),
    "Whole although DRA is offered": ("Whole", 4608, ALL, EVERYTHING, "card"),
    "Whole is waited for": ("Whole", 4608, ALL, NOTHING, "card?"),
    "Whole: the smallest GPU that fits": ("Whole", 4608, TWO_CARDS, CARDS, "card"),
    "Whole: the GPU of the nodes that are there": ("Whole", 4608, POOLS, on(node(GPU, pool="a100")), "a100"),
    "Whole: the smaller one where both are": (
        "Whole",
        4608,
        POOLS,
        on(node(GPU, pool="a100"), node(GPU, pool="l4")),
        "l4",
    ),
    "Whole: the label and the GPU are one node's": (
        "Whole",
        4608,
        POOLS,
        on(node(pool="l4"), node(GPU), node(GPU, pool="a100")),
        "a100",
    ),
    "Whole: no node whose GPUs are too small": ("Whole", 9000, TOLD, on(node(GPU, mib="8999")), "a100"),
    "Whole: a node whose GPUs are just enough": ("Whole", 9000, TOLD, on(node(GPU, mib="9000")), "card"),
    "Whole: a node that tells no number is none": ("Whole", 9000, TOLD, on(node(GPU, mib="9_999")), "a100"),
    "Whole: a node that does not tell is trusted": ("Whole", 9000, TOLD, on(node(GPU)), "card"),
    "DRA": ("DRA", 4608, ALL, EVERYTHING, "claim"),
    "DRA is waited for": ("DRA", 4608, ALL, NOTHING, "claim?"),
    "MIG: the smallest slice that fits": ("MIG", 4608, ALL, SLICES, "small"),
    "MIG: a slice that fits exactly": ("MIG", 4864, ALL, SLICES, "small"),
    "MIG: one MiB more": ("MIG", 4865, ALL, SLICES, "middle"),
    "MIG: the smallest that is offered": ("MIG", 4608, ALL, MIDDLES, "middle"),
    "MIG: the slice of the nodes that are there": (
        "MIG",
        4608,
        SLICE_POOLS,
        on(node("nvidia.com/mig-1g.5gb", pool="b")),
        "b",
    ),
    "MIG: what fits is waited for": ("MIG", 9999, ALL, MIDDLES, "large?"),
    "MIG: the smallest of the table is waited for": ("MIG", 4608, ALL, NOTHING, "small?"),
    "MIG: the same where the operator may not look": ("MIG", 4608, ALL, UNKNOWN, "small?"),
    "of two equals the first of the table": ("MIG", 4608, EQUALS, SLICES, "b"),
}


def shown(chosen: Allocation | Refusal | None) -> str | None:
    """The profile's name, with a question mark where it was only guessed."""
    assert not isinstance(chosen, Refusal)
    if chosen is None:
        return None
    return f"{chosen.profile.name}?" if chosen.guessed else chosen.profile.name


@pytest.mark.parametrize(
    ("backend", "mib", "table", "offers", "chosen"), CHOICES.values(), ids=CHOICES.keys()
)
def test_the_first_choice(
    backend: Any, mib: int, table: tuple[Profile, ...], offers: Offers, chosen: str | None
) -> None:
    need = needing(mib * MIB)
    found = gpu.choose(Gpu(backend=backend), need, table, offers, None)
    assert shown(found) == chosen
    if isinstance(found, Allocation):
        assert found.need == need
        assert found.pinned == (backend != "Auto")


WAS_MIDDLE = Previous("MIG", "middle", memory="4608Mi")
GUESSED_MIDDLE = WAS_MIDDLE._replace(guessed=True)
NAMED_MIDDLE = WAS_MIDDLE._replace(pinned=True)
NAMED_A100 = Previous("Whole", "a100", pinned=True, memory="4608Mi")

LATER: dict[str, tuple[Any, int, tuple[Profile, ...], Offers, Previous, str]] = {
    "Auto stays where it is": ("Auto", 4608, ALL, EVERYTHING, WAS_MIDDLE, "middle"),
    "Auto stays when the node goes": ("Auto", 4608, ALL, NOTHING, WAS_MIDDLE, "middle"),
    "Auto stays when it may look no more": ("Auto", 4608, ALL, UNKNOWN, WAS_MIDDLE, "middle"),
    "Auto leaves a guess for what is offered": ("Auto", 4608, ALL, EVERYTHING, GUESSED_MIDDLE, "claim"),
    "Auto leaves no guess for what is too small": (
        "Auto",
        4608,
        profiles(MIDDLE, {**SMALL, "memory": "4Gi"}),
        ONLY_SMALL,
        GUESSED_MIDDLE,
        "middle?",
    ),
    "Auto stays with a guess where nothing is offered": (
        "Auto",
        4608,
        ALL,
        NOTHING,
        GUESSED_MIDDLE,
        "middle?",
    ),
    "Auto stays with a guess where it may not look": ("Auto", 4608, ALL, UNKNOWN, GUESSED_MIDDLE, "middle?"),
    "Auto leaves what became too small": (
        "Auto",
        9999,
        ALL,
        MIDDLES,
        WAS_MIDDLE._replace(memory="9999Mi"),
        "card",
    ),
    "Auto leaves what left the table": ("Auto", 4608, profiles(CARD, SMALL), SLICES, WAS_MIDDLE, "small"),
    "Auto leaves a name that now means another backend": (
        "Auto",
        4608,
        CARD_NAMED_MIDDLE,
        SLICES,
        WAS_MIDDLE,
        "small",
    ),
    "Auto does not stay with what it has not chosen": ("Auto", 4608, ALL, EVERYTHING, NAMED_MIDDLE, "claim"),
    "MIG: a device plugin that restarts moves no pod": ("MIG", 4608, ALL, NOTHING, NAMED_MIDDLE, "middle"),
    "MIG: nor to the slices of another node": ("MIG", 4608, ALL, ONLY_LARGE, NAMED_MIDDLE, "middle"),
    "MIG: nor do smaller slices that come": ("MIG", 4608, ALL, SLICES, NAMED_MIDDLE, "middle"),
    "MIG: a guess goes where slices are": (
        "MIG",
        4608,
        ALL,
        ONLY_LARGE,
        NAMED_MIDDLE._replace(guessed=True),
        "large",
    ),
    "MIG: another need is chosen for anew": ("MIG", 4609, ALL, SLICES, NAMED_MIDDLE, "small"),
    "MIG after Auto": ("MIG", 4608, ALL, SLICES, WAS_MIDDLE, "small"),
    "MIG after Whole": ("MIG", 4608, ALL, SLICES, NAMED_A100, "small"),
    "Whole: larger GPUs are kept": ("Whole", 4608, TWO_CARDS, CARDS, NAMED_A100, "a100"),
    "Whole: a guess goes where GPUs are": (
        "Whole",
        4608,
        POOLS,
        on(node(GPU, pool="l4")),
        NAMED_A100._replace(guessed=True),
        "l4",
    ),
    "Whole: a guess that proves right is none": (
        "Whole",
        4608,
        POOLS,
        on(node(GPU, pool="a100")),
        NAMED_A100._replace(guessed=True),
        "a100",
    ),
}


@pytest.mark.parametrize(
    ("backend", "mib", "table", "offers", "previous", "chosen"), LATER.values(), ids=LATER.keys()
)
def test_a_later_choice(
    backend: Any, mib: int, table: tuple[Profile, ...], offers: Offers, previous: Previous, chosen: str
) -> None:
    assert shown(gpu.choose(Gpu(backend=backend), needing(mib * MIB), table, offers, previous)) == chosen


@pytest.mark.parametrize(
    ("given", "offers", "previous", "chosen"),
    [
        pytest.param(None, NOTHING, None, "l4?", id="the user names no nodes"),
        pytest.param({"pool": "a100"}, NOTHING, None, "a100?", id="nodes of one profile"),
        pytest.param({"zone": "a"}, NOTHING, None, "l4?", id="nodes that no profile asks about"),
        pytest.param(
            {"pool": "a100"}, on(node(GPU, pool="l4")), None, "a100?", id="rather than what is there"
        ),
        pytest.param(
            {"pool": "a100"},
            on(node(GPU, pool="l4"), node(GPU, pool="a100")),
            Previous("Whole", "l4", memory="4608Mi"),
            "a100",
            id="rather than what was chosen before the user named them",
        ),
        pytest.param({"pool": "cpu"}, NOTHING, None, "l4?", id="nodes of none: `conflicts` names it"),
    ],
)
def test_a_profile_whose_nodes_the_spec_excludes_is_the_last_resort(
    given: dict[str, str] | None, offers: Offers, previous: Previous | None, chosen: str
) -> None:
    found = gpu.choose(Gpu(), needing(4608 * MIB), POOLS, offers, previous, node_selector=given)
    assert shown(found) == chosen


HAS = "the operator's settings has (Whole up to 24Gi, MIG up to 40192Mi, DRA up to 80Gi)"


@pytest.mark.parametrize(
    ("given", "family_gib", "table", "message"),
    [
        pytest.param(
            Gpu(memory="81Gi"),
            8,
            ALL,
            f"spec.gpu.memory: 81Gi is more than any GPU profile of {HAS}: ask for less",
            id="the spec asks for more than there is",
        ),
        pytest.param(
            Gpu(backend="MIG", memory="40Gi"),
            8,
            ALL,
            f"spec.gpu.memory: 40Gi is more than any GPU profile of backend MIG of {HAS}: ask for less, or "
            "choose another spec.gpu.backend",
            id="the spec asks a backend for more than it has",
        ),
        pytest.param(
            Gpu(),
            100,
            ALL,
            "spec.checkpoint: a pod needs 102912Mi of GPU memory (SDXL base 100Gi + headroom 512Mi), more "
            f"than any GPU profile of {HAS}: set spec.gpu.memory, choose a checkpoint of a smaller family",
            id="the checkpoint needs more than there is",
        ),
        pytest.param(
            Gpu(backend="Whole"),
            30,
            ALL,
            "spec.gpu.backend: a pod needs 31232Mi of GPU memory (SDXL base 30Gi + headroom 512Mi), more "
            f"than any GPU profile of backend Whole of {HAS}: set spec.gpu.memory, choose a checkpoint of a "
            "smaller family, or choose another spec.gpu.backend",
            id="the checkpoint needs more than the backend has",
        ),
        pytest.param(
            Gpu(backend="DRA", memory="1Gi"),
            8,
            profiles(CARD, SMALL),
            "spec.gpu.backend: the operator's settings have no GPU profile of backend DRA (Whole up to 24Gi, "
            "MIG up to 4864Mi): choose another one, or Auto",
            id="the table has no such backend",
        ),
    ],
)
@pytest.mark.parametrize("offers", [NOTHING, EVERYTHING, UNKNOWN], ids=["nothing", "everything", "unknown"])
def test_refused_is_what_no_profile_can_ever_give(
    given: Gpu, family_gib: int, table: tuple[Profile, ...], message: str, offers: Offers
) -> None:
    settings = GpuSettings(family_memory={"SDXL": f"{family_gib}Gi"})
    need = gpu.need(given, checkpoint("SDXL"), settings)
    assert gpu.choose(given, need, table, offers, None) == Refusal(message)


def follow(steps: list[tuple[Any, int, Offers]]) -> list[str | None]:
    """What is chosen one after the other, each knowing what the last one wrote."""
    deployment: dict[str, Any] = {"metadata": {}}
    found = []
    for backend, mib, offers in steps:
        previous = gpu.written_on(deployment)
        chosen = gpu.choose(Gpu(backend=backend), needing(mib * MIB), ALL, offers, previous)
        found.append(shown(chosen))
        annotations = {names.ANNOTATION_GPU: gpu.annotation(chosen)} if isinstance(chosen, Allocation) else {}
        deployment = {"metadata": {"annotations": annotations}}
    return found


@pytest.mark.parametrize(
    ("steps", "chosen"),
    [
        pytest.param(
            [("Auto", 4608, EVERYTHING), ("Whole", 4608, EVERYTHING), ("Auto", 4608, EVERYTHING)],
            ["claim", "card", "claim"],
            id="Auto, another backend, Auto",
        ),
        pytest.param(
            [("MIG", 4608, SLICES), ("MIG", 8704, SLICES), ("MIG", 4608, SLICES)],
            ["small", "middle", "small"],
            id="a larger checkpoint and back",
        ),
        pytest.param(
            [("Auto", 4608, SLICES), ("Auto", 8704, SLICES), ("Auto", 4608, SLICES)],
            ["small", "middle", "small"],
            id="the same under Auto",
        ),
        pytest.param(
            [("MIG", 4608, UNKNOWN), ("MIG", 8704, UNKNOWN), ("MIG", 4608, UNKNOWN)],
            ["small?", "middle?", "small?"],
            id="the same where the operator may not look",
        ),
        pytest.param(
            [("Whole", 4608, CARDS), ("None", 4608, CARDS), ("Whole", 4608, CARDS)],
            ["card", None, "card"],
            id="the CPU and back",
        ),
        pytest.param(
            [("Auto", 4608, NOTHING), ("Auto", 4608, SLICES), ("Auto", 4608, EVERYTHING)],
            ["card?", "small", "small"],
            id="Auto before the driver is installed, and for good",
        ),
        pytest.param(
            [("MIG", 4608, ONLY_LARGE), ("MIG", 4608, NOTHING), ("MIG", 4608, SLICES)],
            ["large", "large", "large"],
            id="a device plugin that restarts",
        ),
        pytest.param(
            [("Auto", 4608, CARDS), ("Auto", 4608, UNKNOWN), ("Auto", 4608, EVERYTHING)],
            ["card", "card", "card"],
            id="a right that is lost and given back",
        ),
    ],
)
def test_what_follows_from_what_was_chosen_before(
    steps: list[tuple[Any, int, Offers]], chosen: list[str | None]
) -> None:
    assert follow(steps) == chosen


def allocation(profile: dict[str, Any], **how: bool) -> Allocation:
    return Allocation(profile=profiles(profile)[0], need=needing(4608 * MIB), **how)


@pytest.mark.parametrize("how", [{}, {"pinned": True}, {"guessed": True}, {"pinned": True, "guessed": True}])
def test_the_choice_is_written_as_json_on_the_deployment(how: dict[str, bool]) -> None:
    written = gpu.annotation(allocation(SMALL, **how))
    assert json.loads(written) == {"backend": "MIG", "profile": "small", "memory": "4608Mi", **how}
    read = gpu.written_on({"metadata": {"annotations": {names.ANNOTATION_GPU: written}}})
    assert read == Previous("MIG", "small", memory="4608Mi", **how)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"annotations": None},
        {"annotations": {names.ANNOTATION_GPU: "small"}},
        {"annotations": {names.ANNOTATION_GPU: "[]"}},
        {"annotations": {names.ANNOTATION_GPU: '"small"'}},
        {"annotations": {names.ANNOTATION_GPU: "{}"}},
        {"annotations": {names.ANNOTATION_GPU: '{"backend": "MIG", "profile": "small"}'}},
    ],
)
def test_what_is_no_choice_of_ours_is_none(metadata: dict[str, Any]) -> None:
    assert gpu.written_on({"metadata": metadata}) is None


# --- the rest of the spec, and the status

POOLED = {**SMALL, "nodeSelector": {"pool": "gpu"}}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param({}, None, id="the user names no nodes"),
        pytest.param({"nodeSelector": {"zone": "a", "pool": "gpu"}}, None, id="the same nodes"),
        pytest.param(
            {"nodeSelector": {"pool": "cpu"}},
            "spec.nodeSelector[pool]: 'cpu' contradicts 'gpu' of the GPU profile small: remove it, or choose "
            "another spec.gpu.backend",
            id="other nodes",
        ),
    ],
)
def test_nodes_that_contradict_the_profile_are_named(given: dict[str, Any], sentence: str | None) -> None:
    assert gpu.conflicts(spec(**given), allocation(POOLED)) == sentence


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        (None, None),
        ({"limits": {"cpu": 1}, "requests": {"memory": "1Gi"}}, None),
        ({"limits": {"example.org/fpga": 1}}, None),
        ({"limits": {"nvidia.com/gpu": 1}}, "limits[nvidia.com/gpu]"),
        ({"requests": {"nvidia.com/mig-1g.5gb": "1"}}, "requests[nvidia.com/mig-1g.5gb]"),
    ],
)
def test_resources_of_the_table_are_not_for_the_spec(resources: Any, field: str | None) -> None:
    given = {"resources": resources} if resources else {}
    expected = field and f"spec.resources.{field}: it is set by spec.gpu.backend; remove it here"
    assert gpu.resources_conflict(spec(**given), ALL) == expected


def test_the_table_s_resources_are_those_of_device_plugins() -> None:
    assert gpu.resource_names(profiles(CARD, SMALL, CLAIM)) == {"nvidia.com/gpu", "nvidia.com/mig-1g.5gb"}


def test_the_status_shows_need_parts_and_choice() -> None:
    need = gpu.need(Gpu(), checkpoint("SDXL"), SETTINGS)
    chosen = gpu.choose(Gpu(), need, ALL, MIDDLES, None)
    assert isinstance(chosen, Allocation)
    assert gpu.vram_status(need, chosen).as_manifest() == {
        "requested": "8704Mi",
        "breakdown": [{"name": "SDXL base", "memory": "8Gi"}, {"name": "headroom", "memory": "512Mi"}],
        "backend": "MIG",
        "profile": "middle",
    }
