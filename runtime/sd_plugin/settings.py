"""What the environment of a plugin's container says. Nothing else here reads `os.environ`."""

import os
from pathlib import Path

from sd_plugin.errors import InvalidParameter

#: The Unix socket to listen on.
SOCKET = "SD_PLUGIN_SOCKET"
#: What the plugin is called where it runs; callers expect it in the description.
NAME = "SD_PLUGIN_NAME"
#: Folders with models in A1111's layout, separated by colons.
MODELS = "SD_PLUGIN_MODELS"
#: Bytes of memory that the container may have, where its cgroup does not say, or to have less.
MEMORY = "SD_PLUGIN_MEMORY_BYTES"
#: The folder with the pose models that controlnet-openpose's image has.
POSE_MODELS = "SD_POSE_MODELS"


def model_roots() -> tuple[Path, ...]:
    """The folders below which weights are, e.g. at `<root>/models/Annotators/`, in order of precedence."""
    return tuple(Path(each) for each in os.environ.get(MODELS, "").split(":") if each)


def pose_models() -> Path | None:
    """The folder with the pose models; None where the environment does not say."""
    return Path(given) if (given := os.environ.get(POSE_MODELS)) else None


def socket_path() -> Path | None:
    """Where to listen; None where the environment does not say."""
    return Path(given) if (given := os.environ.get(SOCKET)) else None


def memory_bytes() -> int | None:
    """How much memory the container may have; None where the environment does not say."""
    given = os.environ.get(MEMORY)
    if not given:
        return None
    if not given.isdecimal() or int(given) == 0:
        raise InvalidParameter(MEMORY, given, "a whole number of bytes above 0")
    return int(given)


def own_name(default: str) -> str:
    """What the plugin is called here."""
    return os.environ.get(NAME) or default
