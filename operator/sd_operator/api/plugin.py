"""SDPlugin: a component, in a container of its own, that SDInstances may add to their pods."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator import names
from sd_operator.api.base import Model, ObjectMeta
from sd_operator.api.kubernetes import DNSLabel, ResourceRequirements
from sd_operator.api.plugin_status import SDPluginStatus
from sd_operator.api.schema import list_map, rules

PluginKind = Literal["Preprocessor", "Upscaler"]
#: The groups under which ControlNet's clients list preprocessors; every module is under All as well.
ControlType = Literal[
    "Canny",
    "Depth",
    "IP-Adapter",
    "Inpaint",
    "Instant-ID",
    "InstructP2P",
    "Lineart",
    "MLSD",
    "NormalMap",
    "OpenPose",
    "Recolor",
    "Reference",
    "Revision",
    "Scribble",
    "Segmentation",
    "Shuffle",
    "SoftEdge",
    "SparseCtrl",
    "T2I-Adapter",
    "Tile",
]
MODULE_PATTERN = r"^[a-z0-9][a-z0-9_+.-]{0,62}$"
#: Part of a file's name: one line.
MATCH_PATTERN = r"^[^\x00-\x1f\x7f]+$"
#: What no reference of an image has anything beside.
IMAGE_PATTERN = r"^[!-~]+$"
#: What a plugin may ask of its node. It computes on processors: a GPU is the runtime's.
RESOURCES = ("cpu", "memory", "ephemeral-storage")


class PluginModule(Model):
    """One thing that the plugin does, and how clients find it."""

    name: Annotated[
        str,
        Field(
            max_length=63,
            pattern=MODULE_PATTERN,
            description="Name or alias by which the plugin offers the module. One that it does not offer is "
            "told in the plugin's message, and listed as not available; its others are there.",
        ),
    ]
    control_type: Annotated[
        ControlType | None,
        Field(
            description="Control type of ControlNet's clients under which a preprocessor is listed. Default: "
            "what the plugin says."
        ),
    ] = None
    matches: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63, pattern=MATCH_PATTERN)], ...] | None,
        Field(
            max_length=16,
            description="Parts of the file names of the ControlNets that a preprocessor goes with, such as "
            "canny; a client that chooses the control type is offered the first that fits. Default: what "
            "the plugin says.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None


class PluginModels(Model):
    """A ModelBundle with the plugin's own files."""

    name: Annotated[
        DNSLabel,
        Field(description="Name of a ModelBundle in the namespace of each SDInstance that uses the plugin."),
    ]


MODULE_RULES = rules(
    (
        "self.kind == 'Preprocessor' || !has(self.modules) || "
        "self.modules.all(module, !has(module.controlType) && !has(module.matches))",
        "modules[].controlType and modules[].matches are of a Preprocessor; an Upscaler goes with no "
        "ControlNet: remove them",
    ),
)
RESOURCE_RULES = rules(
    *(
        (
            f"!has(self.{part}) || self.{part}.all(name, name in {list(RESOURCES)})",
            f"resources.{part}: a plugin may ask for {', '.join(RESOURCES)}; it has no GPU",
        )
        for part in ("limits", "requests")
    ),
    *(
        (
            f"!has(self.{part}) || self.{part}.all(name, type(self.{part}[name]) == string || "
            f"int(self.{part}[name]) >= 0)",
            f"resources.{part}: no amount may be below zero",
        )
        for part in ("limits", "requests")
    ),
    (
        "!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits) || "
        "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
        "resources.requests: none may be above the limit of the same name",
    ),
)


class SDPluginSpec(Model):
    """What the plugin is. A change replaces the pods of all SDInstances that use it."""

    image: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            pattern=IMAGE_PATTERN,
            description="Image of the plugin's container, which serves the plugin contract. It is pulled "
            "with the imagePullSecrets of the SDInstance and of the operator's settings, and runs without "
            "root, API token and writable file system.",
        ),
    ]
    kind: Annotated[
        PluginKind,
        Field(
            description="Preprocessor makes the maps that ControlNets follow; Upscaler is offered among the "
            "upscalers. The plugin must say the same of itself."
        ),
    ]
    modules: Annotated[
        tuple[PluginModule, ...],
        Field(
            max_length=64,
            description="How modules of the plugin are listed, in place of what it says of them itself. "
            "Others that it offers are there, too. Default: whatever it offers, as it says.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    models: Annotated[
        tuple[PluginModels, ...],
        Field(
            max_length=8,
            description="ModelBundles with the plugin's weights, files of type Annotator or Upscaler; their "
            "volumes are mounted read-only into its container, with whatever else is on them. Default: none.",
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    resources: Annotated[
        ResourceRequirements | None,
        Field(
            description="Resources of the plugin's container: cpu, memory, ephemeral-storage. Default: "
            "requests of 100m CPU and 256Mi of memory; a limit of 2Gi where nothing is said of memory.",
            json_schema_extra=RESOURCE_RULES,
        ),
    ] = None


class SDPlugin(Model):
    """A preprocessor or an upscaler in a container of its own, which SDInstances add by naming it."""

    metadata: ObjectMeta
    spec: Annotated[SDPluginSpec, Field(description="What the plugin is.", json_schema_extra=MODULE_RULES)]
    status: Annotated[SDPluginStatus, Field(description="What the operator sees.")] = SDPluginStatus()


NAME_RULE = (
    f"self.metadata.name.matches('{names.PLUGIN_PATTERN}')",
    f"metadata.name must be at most {names.MAX_PLUGIN} lower-case letters, digits and dashes, beginning and "
    "ending with a letter or digit: it becomes the name of a container and of a socket",
)
