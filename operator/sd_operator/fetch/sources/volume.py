"""A file of another claim of the namespace, which is mounted read-only into the fetch."""

import errno
import os
import stat
from pathlib import Path

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import Volume
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.sources.location import Location


def identity(source: Volume) -> str:
    return f"volume:{source.claim_name}/{source.path}"


def resolve(source: Volume, *, settings: Settings) -> Location:
    mount = settings.sources / source.claim_name
    try:
        root = mount.resolve(strict=True)
    except OSError as error:
        raise FetchError(
            errors.VOLUME_UNREACHABLE,
            f"{identity(source)}: the claim {source.claim_name} is not mounted: {error.strerror}",
            retryable=True,
        ) from error
    return Location(
        url="",
        identity=identity(source),
        file_name=source.path.rpartition("/")[2],
        local=_regular_file(root, source),
    )


def _regular_file(root: Path, source: Volume) -> Path:
    """Where the file really is. Links are followed within the claim, and never out of it."""
    try:
        path = (root / source.path).resolve(strict=True)
        if not path.is_relative_to(root):
            raise FetchError(
                errors.SOURCE_REFUSED,
                f"{identity(source)}: a link leads out of the claim; set source.volume.path to a file in it",
            )
        state = path.stat()
        readable = os.access(path, os.R_OK, effective_ids=True)
    except (OSError, RuntimeError) as error:
        raise _failed(source, error) from error
    if not stat.S_ISREG(state.st_mode):
        raise FetchError(
            errors.SOURCE_REFUSED,
            f"{identity(source)}: that is no file; set source.volume.path to the path of a file",
        )
    if not readable:
        raise _failed(source, PermissionError(errno.EACCES, "Permission denied"))
    return path


def _failed(source: Volume, error: OSError | RuntimeError) -> FetchError:
    # A circle of links: an OSError or, in older Pythons, a RuntimeError.
    if isinstance(error, RuntimeError) or error.errno == errno.ELOOP:
        return FetchError(errors.SOURCE_REFUSED, f"{identity(source)}: its links lead in a circle")
    return errors.of_claim(error, identity(source))
