"""The Unix socket of a plugin: made whole, in place of what a dead process left there."""

import contextlib
import secrets
import socket
from pathlib import Path

from sd_plugin.errors import PluginError

#: Connections that wait in the kernel, also while a worker is replaced.
BACKLOG = 128
#: What the kernel takes as a path, without the zero behind it.
_LONGEST_PATH = 107


class CannotListen(PluginError):
    """The socket's path cannot be listened on; the sentence tells why."""

    reason = "CannotListen"


def listen(path: Path) -> socket.socket:
    """A listening socket at the path. One that nobody listens on any more is replaced in one step, so that
    callers find either none or one that takes connections. Raises `CannotListen`."""
    if len(bytes(path)) > _LONGEST_PATH:
        raise CannotListen(f"socket: {path} is too long; allowed: {_LONGEST_PATH} bytes")
    if is_served(path):
        raise CannotListen(f"socket: {path} is served by another process; allowed: a path of its own")
    # Its suffix is not that of sockets: who looks for those in the folder does not see it.
    temporary = path.with_name(f".{secrets.token_hex(4)}")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(temporary))
        # For the container's group, too: the caller may run as another user.
        temporary.chmod(0o660)
        listening.listen(BACKLOG)
        temporary.rename(path)
    except OSError as error:
        listening.close()
        temporary.unlink(missing_ok=True)
        raise CannotListen(f"socket: {path} cannot be listened on: {error.strerror}") from error
    return listening


def is_served(path: Path) -> bool:
    """Whether a process takes connections there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
        trying.settimeout(1.0)
        try:
            trying.connect(str(path))
        except OSError:
            return False
        return True


def remove(path: Path, listening: socket.socket) -> None:
    """Closes the socket and takes its file away."""
    listening.close()
    with contextlib.suppress(OSError):
        path.unlink()
