"""What becomes of bytes that are whole: safetensors stays what it is, a pickle goes as the policy says.

Under ScanPickle a pickle that names nothing but tensors becomes safetensors, and that is what is stored.
Nothing of a pickle is ever executed.
"""

import logging
from pathlib import Path

from sd_modelfiles import header as headers
from sd_modelfiles import pickles, sniff
from sd_modelfiles.describe import Description
from sd_modelfiles.pickles import PickleMalformed, PickleUnsafe
from sd_operator.fetch import errors, gate, hashing
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.listing import Found, Whole
from sd_operator.fetch.partial import Partial
from sd_operator.fetch.progress import Phase
from sd_operator.fetch.request import FormatPolicy

_SHOWN_GLOBALS = 20

log = logging.getLogger(__name__)


def finish(
    errand: Errand, partial: Partial, description: Description | None, *, sha256: str, source: str
) -> Whole:
    """The file that is put in place; a pickle has no description until now."""
    if description is not None:
        return Whole(partial.path, Found(sha256=sha256, description=description, source=source))
    if errand.request.format_policy is FormatPolicy.UNSAFE:
        found = Found(sha256=sha256, description=_untrusted(partial.path, errand), source=source)
        return Whole(partial.path, found)
    errand.progress.phase = Phase.CONVERTING
    with errand.stop.interruptible():
        description, converted = _converted(errand, partial)
    found = Found(sha256=converted, description=description, source=source, source_sha256=sha256)
    return Whole(partial.converted, found)


def description_of(path: Path, errand: Errand) -> Description:
    """What a file of the volume is, if it is of the wanted type and family; raises FetchError."""
    with path.open("rb") as file:
        prefix = file.read(sniff.SNIFF_BYTES)
    if sniff.is_pickle(prefix) and errand.request.format_policy is FormatPolicy.UNSAFE:
        return _untrusted(path, errand)
    other = sniff.other_format(prefix)
    if other is not None:
        raise FetchError(errors.FORMAT_REFUSED, f"the file is {other}")
    try:
        header = headers.read(path, limit=gate.MAX_HEADER_BYTES)
    except headers.HeaderError as error:
        raise FetchError(errors.FORMAT_REFUSED, f"the file is not valid safetensors: {error}") from error
    return gate.accepted(header, errand.file)


def _untrusted(path: Path, errand: Errand) -> Description:
    """A pickle that is stored as it is: what it shows must not contradict, and it may show nothing."""
    try:
        with errand.stop.interruptible():
            report = pickles.inspect(path, allow_unsafe=True)
    except PickleMalformed as error:
        log.warning("the pickle cannot be read without running it: %s", error)
        return Description(errand.file.type, None, None, None)
    if report.dangerous or not report.tensors:
        log.warning("the pickle asks for %s", ", ".join(report.dangerous[:_SHOWN_GLOBALS]))
        return Description(errand.file.type, None, None, None)
    return gate.accepted(report.header, errand.file)


def _converted(errand: Errand, partial: Partial) -> tuple[Description, str]:
    """Convert to safetensors beside the partial file; what it is, and its sha256."""
    try:
        # Judged before a byte is written.
        description = gate.accepted(pickles.inspect(partial.path).header, errand.file)
        log.info("converting a pickle to safetensors")
        pickles.convert(partial.path, partial.converted, between=errand.stop.check)
    except PickleUnsafe as error:
        raise FetchError(errors.PICKLE_UNSAFE, str(error)) from error
    except PickleMalformed as error:
        raise FetchError(errors.FORMAT_REFUSED, f"the pickle cannot be converted: {error}") from error
    return description, hashing.sha256_of(partial.converted, errand.stop)
