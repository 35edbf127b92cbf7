"""What goes wrong on the way to a source, as FetchErrors: translated here and nowhere else.

Messages name the source by its identity and hosts by their names; never an address with its query.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError

# OpenSSL's numbers of what is wrong with a certificate, where the advice differs (x509_vfy.h).
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = (62, 64)
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
_SHOWN_CHARACTERS = 200


class Refusal(Exception):
    """This process itself will not, or cannot, go where a source leads. Never leaves `failing`."""

    def __init__(self, reason: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.retryable = retryable


@contextmanager
def failing(identity: str, *, received: Callable[[], int] | None = None) -> Iterator[None]:
    """Errors of names, connections, TLS and HTTP within this block become FetchErrors.

    `received`, while a body is read: how many bytes of the file there are so far. A block for the body may
    lie within one for the whole request.
    """
    try:
        yield
    except Refusal as error:
        raise FetchError(error.reason, f"{identity}: {error.sentence}", retryable=error.retryable) from error
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise FetchError(
            errors.SOURCE_REFUSED, f"{identity} leads to where no file can be got: {_kind(error)}"
        ) from error
    except httpx.ProxyError as error:
        raise _of_proxy(identity, error) from error
    except httpx.RemoteProtocolError as error:
        raise _of_protocol(identity, error, received) from error
    except httpx.TransportError as error:
        raise _of_tls(identity, error) or _of_connection(identity, error, received) from error


def _of_protocol(
    identity: str, error: httpx.RemoteProtocolError, received: Callable[[], int] | None
) -> FetchError:
    if received is not None:
        return FetchError(
            errors.TRUNCATED,
            f"{identity} ended the body after byte {received()}, before the file's end",
            retryable=True,
        )
    return FetchError(
        errors.SERVER_ERROR, f"{identity} does not answer in HTTP: {_kind(error)}", retryable=True
    )


def _of_connection(
    identity: str, error: httpx.TransportError, received: Callable[[], int] | None
) -> FetchError:
    if isinstance(error, httpx.ConnectTimeout):
        reason, what = errors.TIMEOUT, f"{identity}: no connection came about in time: {_kind(error)}"
    elif isinstance(error, httpx.TimeoutException) and received is not None:
        reason, what = errors.TIMEOUT, f"{identity} fell silent at byte {received()}: {_kind(error)}"
    elif isinstance(error, httpx.TimeoutException):
        reason, what = errors.TIMEOUT, f"{identity} did not answer in time: {_kind(error)}"
    else:
        when = f"lost at byte {received()}" if received is not None else "not made"
        reason = errors.CONNECTION_FAILED
        what = f"the connection to {identity} was {when}: {_kind(error)}"
    return FetchError(reason, what, retryable=True)


def _of_tls(identity: str, error: httpx.TransportError) -> FetchError | None:
    """What a failure of TLS means; None for a failure of something else, or of a connection that was made."""
    found = _origin(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        message = f"{identity}: its certificate is not accepted: {found.verify_message}"
        return FetchError(errors.TLS, f"{message}; {_certificate_advice(found.verify_code)}")
    # A connection that ends while TLS begins is as good as any that is lost.
    lost = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    if not isinstance(found, ssl.SSLError) or isinstance(found, lost):
        return None
    if not isinstance(error, httpx.ConnectError):
        return None
    if found.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return FetchError(
            errors.TLS, f"{identity}: what answers at this port does not speak TLS; check scheme and port"
        )
    return FetchError(
        errors.TLS, f"{identity}: no encrypted connection came about: {found.reason or found}", retryable=True
    )


def _certificate_advice(code: int) -> str:
    if code in _UNKNOWN_ISSUER:
        return "give the certificate of the authority that issued it in spec.fetch.caBundle"
    if code in _OTHER_NAME:
        return "give the address by a name that the certificate has"
    if code == _EXPIRED:
        return "it must be renewed there"
    if code == _NOT_YET_VALID:
        return "check the clock of the node"
    return "it must be corrected there"


def _of_proxy(identity: str, error: httpx.ProxyError) -> FetchError:
    status = str(error)[:3]
    answered = f"{identity}: the proxy answered {str(error)[:80]!r}"
    if status == "407":
        return FetchError(errors.UNAUTHORIZED, f"{answered}: it asks for credentials; check spec.fetch.proxy")
    if status.startswith("4") and status not in ("408", "429"):
        return FetchError(
            errors.FORBIDDEN,
            f"{answered}: it does not let fetches out to that host; allow it there, or set "
            "spec.fetch.proxy.noProxy",
        )
    return FetchError(errors.CONNECTION_FAILED, answered, retryable=True)


def _origin(error: BaseException) -> BaseException | None:
    """The error of TLS that an error of HTTP came from; httpcore leaves it as the context, not the cause."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen


def _kind(error: Exception) -> str:
    """What happened, in httpx's words, which name hosts at most."""
    # Some quote the line that they did not understand, which may be an address.
    words = str(error).partition("bytearray(")[0].rstrip(" :")
    return f"{type(error).__name__}: {words}"[:_SHOWN_CHARACTERS] if words else type(error).__name__
