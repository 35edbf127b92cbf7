"""Why a fetch fails: the reasons, and the one exception that carries a reason to the verdict.

`retryable` says whether the same fetch may succeed later without anybody changing anything.
"""

import errno

# The environment does not describe a fetch; or only the fetch shows that a bundle's words do not do: the
# source calls the file what it cannot be called on the volume, a bucket cannot be part of a host name.
INVALID_REQUEST = "InvalidRequest"
# A Secret of spec.credentialSecrets lacks a key, holds one that cannot be used, or names the host of another.
CREDENTIAL_INVALID = "CredentialInvalid"
# The source answered 401 (or its login page), 403, or 404 or 410.
UNAUTHORIZED = "Unauthorized"
FORBIDDEN = "Forbidden"
NOT_FOUND = "NotFound"
# The source answered something that no retry changes (another 4xx, a redirect that must not be followed).
SOURCE_REFUSED = "SourceRefused"
# The source answered 429, or said otherwise that it is asked too often.
RATE_LIMITED = "RateLimited"
# The source answered 5xx, or broke the rules of HTTP.
SERVER_ERROR = "ServerError"
# No connection, or the connection was lost.
CONNECTION_FAILED = "ConnectionFailed"
# The source was silent, or too slow, for too long.
TIMEOUT = "Timeout"
# The source cannot prove with its certificate who it is, or no encrypted connection comes about.
TLS = "TLS"
# The name of a host does not exist, or cannot be looked up.
DNS = "DNS"
# The name of a host leads to an address that fetches may not connect to.
ADDRESS_REFUSED = "AddressRefused"
# The body ended before the file did.
TRUNCATED = "Truncated"
# The bytes are not a file of a format that spec.formatPolicy takes, or the file contradicts itself.
FORMAT_REFUSED = "FormatRefused"
# The file is a pickle that names something other than tensors: loading it would run code.
PICKLE_UNSAFE = "PickleUnsafe"
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
# The storage behind a volume does not answer.
VOLUME_UNREACHABLE = "VolumeUnreachable"
# The pod was told to stop; what was downloaded is kept.
INTERRUPTED = "Interrupted"

# How a network volume says that its server is gone.
_UNREACHABLE = frozenset(
    (
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ECONNREFUSED,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.ESHUTDOWN,
        errno.EREMOTEIO,
    )
)


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
    if error.errno in _UNREACHABLE:
        return FetchError(
            VOLUME_UNREACHABLE,
            f"the storage behind the volume does not answer: {error.strerror}{where}",
            retryable=True,
        )
    return FetchError(VOLUME_ERROR, f"the volume failed: {error.strerror or error}{where}", retryable=True)


def of_claim(error: OSError, identity: str) -> FetchError:
    """The same of another claim, whose file is the source: nothing of this is the volume's fault."""
    what = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FetchError(
            NOT_FOUND, f"{identity}: there is no such file in the claim; check source.volume.path"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return FetchError(
            FORBIDDEN,
            f"{identity}: it may not be read ({what}): the file and its folders must be readable for the "
            "fetcher's user or group",
        )
    return FetchError(VOLUME_UNREACHABLE, f"{identity}: the claim does not answer: {what}", retryable=True)


def no_space(sentence: str) -> FetchError:
    # Retryable, because what helps (a larger volume, fewer files) changes nothing in the file's own words.
    return FetchError(
        NO_SPACE,
        f"{sentence}; enlarge spec.storage.size (or the claim itself), or remove files from the volume",
        retryable=True,
    )
