"""Why a fetch fails: the reasons, and the one exception that carries a reason to the verdict.

`retryable` says whether the same fetch may succeed later without anybody changing anything.
"""

import errno

# The environment does not describe a fetch. Never seen from a bundle that the API server accepted.
INVALID_REQUEST = "InvalidRequest"
# The source answered 401, 403, or 404 or 410.
UNAUTHORIZED = "Unauthorized"
FORBIDDEN = "Forbidden"
NOT_FOUND = "NotFound"
# The source answered something that no retry changes (another 4xx, a redirect that must not be followed).
SOURCE_REFUSED = "SourceRefused"
# The source answered 429.
RATE_LIMITED = "RateLimited"
# The source answered 5xx, or broke the rules of HTTP.
SERVER_ERROR = "ServerError"
# No connection, or the connection was lost or silent for too long.
CONNECTION_FAILED = "ConnectionFailed"
# The body ended before the file did.
TRUNCATED = "Truncated"
# The bytes are not a safetensors file, or its header contradicts itself.
FORMAT_REFUSED = "FormatRefused"
# The file is a model of another type, or of another family, than the bundle says.
TYPE_MISMATCH = "TypeMismatch"
FAMILY_MISMATCH = "FamilyMismatch"
# The file is whole and its sha256 is not the one the bundle gives.
HASH_MISMATCH = "HashMismatch"
# Another file lies where this one should go.
PATH_CONFLICT = "PathConflict"
# The volume is too small.
NO_SPACE = "NoSpace"
# The volume or its manifest cannot be read or written.
VOLUME_ERROR = "VolumeError"
# The pod was told to stop; what was downloaded is kept.
INTERRUPTED = "Interrupted"


class FetchError(Exception):
    """A fetch, or one attempt at it, failed."""

    def __init__(
        self, reason: str, message: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after  # seconds the source asked to wait


def of_volume(error: OSError) -> FetchError:
    """What an error of the file system means for the fetch."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space(f"the volume became full while the file was written{where}")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return FetchError(
            VOLUME_ERROR,
            f"the volume cannot be written: {error.strerror}{where}; "
            "its folders must be writable for the fetcher's user or group",
        )
    return FetchError(VOLUME_ERROR, f"the volume failed: {error.strerror or error}{where}", retryable=True)


def no_space(sentence: str) -> FetchError:
    # Retryable, because what helps (a larger volume, fewer files) changes nothing in the file's own words.
    return FetchError(
        NO_SPACE,
        f"{sentence}; enlarge spec.storage.size (or the claim itself), or remove files from the volume",
        retryable=True,
    )
