"""`python -m sd_plugin` and the command `sd-plugin`: serve, worker, conform."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from sd_plugin import __version__, log, settings
from sd_plugin.errors import PluginError


def main(arguments: Sequence[str] | None = None) -> int:
    """The process's exit status: 0 after an orderly end; 1 where it cannot serve, or a demand is not met; 2
    for a command line that is wrong."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.call(given))
    except PluginError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sd-plugin", description="Preprocessors and upscalers as plugins.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve a plugin, and start its worker anew whenever it ends")
    serve.add_argument("plugin", help="e.g. basic, or package.module:function")
    serve.add_argument(
        "--socket", type=Path, default=settings.socket_path(), help=f"default: ${settings.SOCKET}"
    )
    serve.set_defaults(call=_serve)
    worker = commands.add_parser("worker", help="what serve starts: the process that computes")
    worker.add_argument("plugin")
    worker.add_argument("--listening", type=int, required=True, metavar="FD", help="the listening socket")
    worker.add_argument("--alive", type=int, required=True, metavar="FD", help="the pipe for signs of life")
    worker.set_defaults(call=_work)
    conform = commands.add_parser("conform", help="check that what listens on a socket keeps the contract")
    conform.add_argument("socket", type=Path)
    conform.set_defaults(call=_conform)
    return parser


def _serve(given: argparse.Namespace) -> int:
    # A container's first process is not ended by a signal without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from sd_plugin.supervisor import Supervisor

    if given.socket is None:
        sys.stderr.write(f"{settings.SOCKET} (--socket): it is not set; allowed: the path of a Unix socket\n")
        return 2
    log.configure()
    command = [sys.executable, "-m", "sd_plugin", "worker", given.plugin]
    return Supervisor(settings.own_name(given.plugin), command, given.socket).run()


def _work(given: argparse.Namespace) -> int:
    log.configure()
    from sd_plugin import loading, memory, worker

    def limit() -> None:
        memory.limit(settings.memory_bytes() or memory.of_container())

    # After what libraries set aside, and before anything large is loaded, which is what may be too much.
    plugin = loading.load(given.plugin, imported=limit)
    with socket.socket(fileno=given.listening) as listening:
        status = worker.serve(plugin, listening, given.alive)
    # Without waiting for threads: one of them may be in a run that never ends.
    sys.stderr.flush()
    os._exit(status)


def _conform(given: argparse.Namespace) -> int:
    from sd_plugin.conformance import check

    try:
        return check(given.socket, sys.stdout)
    except BrokenPipeError:
        # Nobody reads the report to its end (`| head`), and the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
