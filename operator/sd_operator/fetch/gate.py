"""The gate a file passes before a byte of it is stored: a format that is wanted, of the type and the family?

Judges the beginning of a file, in memory; knows nothing of where it comes from. What a pickle holds shows
only when it is whole.
"""

from dataclasses import dataclass

from sd_modelfiles import describe, sniff
from sd_modelfiles import header as headers
from sd_modelfiles.describe import Description
from sd_modelfiles.header import Header
from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.request import File, FormatPolicy

# Headers of real checkpoints stay below 1 MiB. The bound is lower than the format's own, because a parsed
# header takes many times its size in memory.
MAX_HEADER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Passed:
    """A beginning that was let through."""

    size: int | None  # the size that a safetensors header promises for the file; None for a pickle
    description: Description | None  # what that header says; a pickle says it later

    @property
    def is_pickle(self) -> bool:
        return self.description is None


def needed(head: bytes) -> int:
    """How many bytes of the beginning must be seen to judge it, given those that were seen."""
    if len(head) < sniff.SNIFF_BYTES:
        return sniff.SNIFF_BYTES
    if sniff.is_pickle(head) or sniff.other_format(head) is not None:
        return sniff.SNIFF_BYTES
    try:
        return headers.LENGTH_BYTES + headers.header_length(head, limit=MAX_HEADER_BYTES)
    except headers.HeaderError as error:
        raise _malformed(error) from error


def is_cut(head: bytes) -> bool:
    """Whether this may be the beginning of a longer file, and is too short to be judged as one."""
    return len(head) < needed(head) and not sniff.is_pickle(head) and sniff.other_format(head) is None


def judge(head: bytes, *, file: File, policy: FormatPolicy, name: str) -> Passed:
    """Let a beginning pass that has all that is needed, or is the whole file; or raise FetchError."""
    prefix = head[: sniff.SNIFF_BYTES]
    if sniff.is_pickle(prefix) and policy is not FormatPolicy.SAFETENSORS_ONLY:
        _check_name(name, policy, pickled=True)
        return Passed(None, None)
    other = sniff.other_format(prefix)
    if other is not None:
        raise FetchError(errors.FORMAT_REFUSED, f"the source serves {other}")
    header = _header(head)
    _check_name(name, policy, pickled=False)
    return Passed(header.file_size, accepted(header, file))


def accepted(header: Header, file: File) -> Description:
    """What a header says that does not contradict the wanted type and family; FetchError for another one."""
    try:
        return describe.judge(header, wanted_type=file.type, wanted_family=file.family)
    except describe.TypeContradicted as error:
        raise FetchError(errors.TYPE_MISMATCH, str(error)) from error
    except describe.FamilyContradicted as error:
        raise FetchError(errors.FAMILY_MISMATCH, str(error)) from error


def check_size(size: int, passed: Passed, *, identity: str) -> None:
    """Hold a size, the source's word or that of the bytes in hand, against the one the header promises."""
    if passed.size is None or size == passed.size:
        return
    if size < passed.size:
        raise FetchError(
            errors.TRUNCATED,
            f"{identity} serves {size} bytes, the file's header promises {passed.size}",
            retryable=True,
        )
    raise FetchError(
        errors.FORMAT_REFUSED,
        f"the file is not valid safetensors: it has {size} bytes, its header promises {passed.size}",
    )


def _header(head: bytes) -> Header:
    try:
        end = headers.LENGTH_BYTES + headers.header_length(head, limit=MAX_HEADER_BYTES)
        if len(head) < end:
            raise FetchError(
                errors.FORMAT_REFUSED,
                f"the file ends after {len(head)} bytes, inside its safetensors header",
            )
        return headers.parse(head[headers.LENGTH_BYTES : end])
    except headers.HeaderError as error:
        raise _malformed(error) from error


def _check_name(name: str, policy: FormatPolicy, *, pickled: bool) -> None:
    """Readers go by the ending of a name: a file must not be stored under that of another format."""
    if policy is not FormatPolicy.UNSAFE or name.endswith(".safetensors") is not pickled:
        return
    what = "a pickle" if pickled else "a safetensors file"
    raise FetchError(
        errors.FORMAT_REFUSED,
        f"the source serves {what}, which must not be called {name}; set file.fileName accordingly",
    )


def _malformed(error: headers.HeaderError) -> FetchError:
    return FetchError(errors.FORMAT_REFUSED, f"the file is not valid safetensors: {error}")
