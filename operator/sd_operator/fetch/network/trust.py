"""Whose certificates are trusted: the usual authorities, the machine's own, and those of a bundle."""

import ssl
from pathlib import Path

import certifi

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError


def context(ca_file: Path | None) -> ssl.SSLContext:
    """What every TLS connection is made with. Checking cannot be switched off."""
    found = ssl.create_default_context(cafile=certifi.where())
    # Where OpenSSL was built to look; the variables that would send it elsewhere are not asked.
    usual = ssl.get_default_verify_paths()
    if Path(usual.openssl_cafile).is_file():
        found.load_verify_locations(cafile=usual.openssl_cafile)
    if Path(usual.openssl_capath).is_dir():
        found.load_verify_locations(capath=usual.openssl_capath)
    if ca_file is not None:
        _add(found, ca_file)
    return found


def _add(found: ssl.SSLContext, ca_file: Path) -> None:
    try:
        found.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise FetchError(
            errors.TLS,
            f"spec.fetch.caBundle ({ca_file}) holds no certificates that can be used: {why}; "
            "it must be one or more certificates in PEM",
        ) from error
