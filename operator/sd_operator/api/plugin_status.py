"""SDPlugin.status: what becomes of the plugin in the SDInstances that use it."""

from typing import Annotated

from pydantic import Field

from sd_operator.api.conditions import ConditionedStatus

#: More names would not be read, and each change of theirs is a write.
MAX_USED_BY = 256


class SDPluginStatus(ConditionedStatus):
    """What the operator sees."""

    instances: Annotated[
        str | None,
        Field(
            max_length=32,
            description="SDInstances in which it answers, of those with pods that use it, such as 2/3.",
        ),
    ] = None
    version: Annotated[
        str | None,
        Field(max_length=100, description="What the plugin says its version is; absent until it answers."),
    ] = None
    used_by: Annotated[
        tuple[Annotated[str, Field(max_length=127)], ...] | None,
        Field(
            max_length=MAX_USED_BY,
            description="SDInstances that name it in spec.plugins, each `<namespace>/<name>`, in "
            f"alphabetical order; the first {MAX_USED_BY} where there are more.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None
