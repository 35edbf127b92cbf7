"""The plugins of an SDInstance: those that its spec names, and what its status tells of them."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator import names
from sd_operator.api.base import Model
from sd_operator.api.schema import list_map

MAX_PLUGINS = 16
#: More modules of one plugin are not told.
MAX_MODULES = 64
MAX_WORDS = 1024
#: Of a module: 16 plugins with 64 each are in one object, and etcd takes 1.5 MiB of it.
MAX_REASON = 200

PluginScope = Literal["Namespace", "Catalog"]


class PluginReference(Model):
    """An SDPlugin that runs in the pods."""

    name: Annotated[
        str,
        Field(max_length=names.MAX_PLUGIN, pattern=names.PLUGIN_PATTERN, description="Name of the SDPlugin."),
    ]
    scope: Annotated[
        PluginScope,
        Field(
            description="Where it is: Namespace, that of the SDInstance; Catalog, that of the operator. "
            "Default: Namespace."
        ),
    ] = "Namespace"


class ModuleStatus(Model):
    """A module of a plugin."""

    name: Annotated[str, Field(max_length=63, description="Name by which requests ask for it.")]
    available: Annotated[bool, Field(description="Whether every pod that tells of it can run it.")]
    reason: Annotated[
        str | None, Field(max_length=MAX_REASON, description="Why not; absent where it is available.")
    ] = None


class PluginStatus(Model):
    """A plugin as the pods tell of it."""

    name: Annotated[str, Field(max_length=63, description="Its name in spec.plugins.")]
    version: Annotated[
        str | None,
        Field(max_length=100, description="What it says its version is; absent until it answers."),
    ] = None
    ready: Annotated[bool, Field(description="Whether it answers in every serving pod of this generation.")]
    reason: Annotated[
        str | None,
        Field(
            max_length=MAX_WORDS,
            description="One word for why not: NoPods, Starting, NotAnswering, ContractBroken, NotReported, "
            "or the cluster's own, such as ImagePullBackOff.",
        ),
    ] = None
    message: Annotated[
        str | None, Field(max_length=MAX_WORDS, description="A sentence for people, where there is one.")
    ] = None
    observed_generation: Annotated[
        int, Field(ge=0, description="Generation of the SDPlugin that the pods are made for.")
    ] = 0
    modules: Annotated[
        tuple[ModuleStatus, ...] | None,
        Field(
            max_length=MAX_MODULES,
            description=f"Its modules, as it tells them; the first {MAX_MODULES} where there are more.",
            json_schema_extra=list_map("name"),
        ),
    ] = None
