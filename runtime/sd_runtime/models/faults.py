"""What is wrong with a model file, as far as its header says; looked into once while it stays the same.
Importable without torch.

Only safetensors files are judged: what a pickle holds is found out when it is read.
"""

import os
import stat
import threading
from pathlib import Path

from sd_modelfiles import describe, header
from sd_modelfiles.kinds import ModelType
from sd_runtime.models.digests import FileKey, key_of

_SAFETENSORS = ".safetensors"


class Faults:
    """Faults by file and by the type that it should be of (None: of any)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[Path, ModelType | None], tuple[FileKey, str | None]] = {}

    def of(self, path: Path, model_type: ModelType | None) -> str | None:
        """What is wrong; None: nothing that can be seen, or it is a folder."""
        try:
            found = path.stat()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return self.of_found(path, found, model_type)

    def of_found(self, path: Path, found: os.stat_result, model_type: ModelType | None) -> str | None:
        """The same where the file was looked at already."""
        if not stat.S_ISREG(found.st_mode) or path.suffix.lower() != _SAFETENSORS:
            return None
        key = key_of(found)
        with self._lock:
            known = self._known.get((path, model_type))
        if known is None or known[0] != key:
            known = key, _look_into(path, model_type)
            with self._lock:
                self._known[path, model_type] = known
        return known[1]


def _look_into(path: Path, model_type: ModelType | None) -> str | None:
    try:
        head = header.read(path)
        if model_type is not None:
            describe.judge(head, wanted_type=model_type, wanted_family=describe.AUTO)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (header.HeaderError, describe.Contradicted) as error:
        return str(error)
    return None
