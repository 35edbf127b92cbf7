"""`python -m sd_operator.bundle DIR`: prints the ModelBundles of a folder that another tool has filled.

The YAML is all that goes to standard output; what was left out, and how far the hashing is, goes to standard
error. Exit code 0 when something was printed, 2 when there is nothing to print.
"""

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sd_operator import names
from sd_operator.bundle.importing import collecting, documents, naming
from sd_operator.bundle.importing.collecting import Entry
from sd_operator.bundle.importing.documents import Target
from sd_operator.bundle.importing.reporting import Report
from sd_operator.errors import ManifestError

# Leaves room for the number of a bundle among several.
_MAX_NAME = names.MAX_LABEL - len("-100")
# What Kubernetes calls a DNS-1123 subdomain.
_CLAIM = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def main(arguments: Sequence[str] | None = None) -> int:
    """Import the folder that the arguments name; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        root = _folder(options.folder)
    except OSError as error:
        return _nothing(f"{options.folder}: {error.strerror or error}")
    name = options.name or naming.label(root.name, otherwise="models")[:_MAX_NAME].rstrip("-")
    target = Target(name, options.claim, options.prefix)
    report = Report(root, sys.stderr)
    found = collecting.collect(
        root, report, scan_pickles=options.pickles == "scan", hashed=not options.no_hash
    )
    entries = _acceptable(root, found, target, report)
    if not entries:
        return _nothing(f"{options.folder}: holds no file that a ModelBundle can have; see docs/importing.md")
    texts = list(documents.documents(entries, target))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # YAML is UTF-8, whatever the terminal is.
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write("---\n".join(texts))
    report.say(
        f"{_count(len(entries), 'file')} in {_count(len(texts), 'bundle')}, {report.count_left_out} left out"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sd_operator.bundle",
        description="Print the ModelBundle of a folder of AUTOMATIC1111's web UI, ComfyUI or "
        "stable-diffusion-webui-docker, ready to be copied off a volume claim that holds the folder.",
        epilog="The YAML goes to standard output, everything else to standard error.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder as it is mounted here")
    parser.add_argument(
        "--claim",
        required=True,
        type=_claim,
        help="PersistentVolumeClaim that holds the folder in the cluster",
    )
    parser.add_argument(
        "--prefix",
        default="",
        type=_prefix,
        help="path of DIR from the root of that claim's volume (default: DIR is the root)",
    )
    parser.add_argument("--name", type=_name, help="name of the bundle (default: made from the name of DIR)")
    parser.add_argument(
        "--pickles",
        choices=("skip", "scan"),
        default="skip",
        help="what becomes of .ckpt, .pt, .pth and .bin files that are Python pickles: skip leaves them out, "
        "scan takes those that hold nothing but tensors; they are converted when they are fetched "
        "(default: skip)",
    )
    parser.add_argument(
        "--no-hash",
        action="store_true",
        help="leave sha256 out: much faster, and nothing to compare the copy with",
    )
    return parser


def _name(text: str) -> str:
    if not names.is_label(text) or len(text) > _MAX_NAME:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be at most {_MAX_NAME} lower-case letters, digits and dashes, beginning and "
            "ending with a letter or digit"
        )
    return text


def _claim(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(_CLAIM, text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a PersistentVolumeClaim: lower-case letters, digits, dashes and dots"
        )
    return text


def _prefix(text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise argparse.ArgumentTypeError(f"{text!r} must stay on the volume: no '..'")
    return "/".join(parts)


def _folder(path: Path) -> Path:
    """The folder without symbolic links in its path; raises OSError."""
    try:
        root = path.resolve(strict=True)
    except RuntimeError as error:
        # What Python 3.11 and 3.12 make of a loop of links.
        raise OSError(str(error)) from error
    if not root.is_dir():
        raise OSError("is not a folder")
    return root


def _acceptable(root: Path, entries: list[Entry], target: Target, report: Report) -> list[Entry]:
    """The entries that the API takes; the others are told, such as one whose path is too long."""
    kept = []
    for entry in entries:
        try:
            documents.file(entry, target)
        except ManifestError as error:
            report.left_out(root / entry.path, str(error))
        else:
            kept.append(entry)
            for note in entry.notes:
                report.note(root / entry.path, note)
    return kept


def _nothing(why: str) -> int:
    sys.stderr.write(f"error: {why}\n")
    return 2


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
