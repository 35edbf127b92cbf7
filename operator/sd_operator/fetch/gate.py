"""The gate a download passes while its first bytes stream: is it safetensors, of the wanted type and family?

A wrong file is refused after its header, not after gigabytes. Fed with the bytes in order; knows nothing of
where they come from.
"""

from sd_modelfiles import family as families
from sd_modelfiles import header as headers
from sd_modelfiles import kinds, sniff
from sd_modelfiles.family import Family
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import ModelType
from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError

# Headers of real checkpoints stay below 1 MiB. The bound is lower than the format's own, because a parsed
# header takes many times its size in memory.
MAX_HEADER_BYTES = 8 * 1024 * 1024

# The families that a runtime can serve.
_SERVED = (Family.SD15, Family.SDXL)


class Gate:
    """Opens when the header was seen and accepted: `header` and `family` are set from then on."""

    def __init__(self, *, wanted_type: ModelType, wanted_family: str) -> None:
        self._wanted_type = wanted_type
        self._wanted_family = wanted_family
        self._prefix = bytearray()
        self.header: Header | None = None
        self.family: Family | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; raises FetchError when the file is refused."""
        if self.header is not None:
            return
        # Bounded: at most the longest header and one chunk more are kept.
        self._prefix += chunk
        if len(self._prefix) >= sniff.SNIFF_BYTES:
            self._examine()

    def finish(self) -> None:
        """The bytes have ended. Refuses a file that ended before its header did."""
        if self.header is None:
            self._examine()
        if self.header is None:
            raise FetchError(
                errors.FORMAT_REFUSED,
                f"the file ends after {len(self._prefix)} bytes, inside its safetensors header",
            )

    def _examine(self) -> None:
        prefix = bytes(self._prefix[: sniff.SNIFF_BYTES])
        other = sniff.other_format(prefix)
        if other is not None:
            raise FetchError(errors.FORMAT_REFUSED, f"the source serves {other}")
        try:
            end = headers.LENGTH_BYTES + headers.header_length(prefix, limit=MAX_HEADER_BYTES)
            if len(self._prefix) < end:
                return
            header = headers.parse(bytes(self._prefix[headers.LENGTH_BYTES : end]))
        except headers.HeaderError as error:
            raise FetchError(errors.FORMAT_REFUSED, f"the file is not valid safetensors: {error}") from error
        self.family = accepted_family(header, self._wanted_type, self._wanted_family)
        self.header = header
        self._prefix.clear()


def accepted_family(header: Header, wanted_type: ModelType, wanted_family: str) -> Family:
    """The family of a file whose header fits the wanted type and family; FetchError for another file."""
    found = kinds.recognise(header)
    if found is not wanted_type:
        what = f"a {found}" if found else "no type of model file that is known"
        raise FetchError(
            errors.TYPE_MISMATCH,
            f"file.type is {wanted_type}, but by its tensors the file is {what}; give a file of that type",
        )
    missing = kinds.missing_parts(header)
    if missing:
        raise FetchError(
            errors.TYPE_MISMATCH,
            f"the checkpoint lacks {' and '.join(missing)}; give a single-file checkpoint with all its parts",
        )
    try:
        family = families.detect(header)
    except families.FamilyUnknown as error:
        raise FetchError(errors.FAMILY_MISMATCH, f"the family cannot be told: {error}") from error
    if wanted_family not in ("Auto", family):
        raise FetchError(
            errors.FAMILY_MISMATCH,
            f"spec.family is {wanted_family}, but by its tensors the file is {family}; "
            "correct spec.family or the source",
        )
    if family not in _SERVED:
        raise FetchError(
            errors.FAMILY_MISMATCH, f"the file is {family}; families that can be served: {', '.join(_SERVED)}"
        )
    return family
