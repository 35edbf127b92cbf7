"""What a file is when it is not a safetensors file: told from its first bytes, for a message that helps.

A wrong link gives a web page, a repository cloned without its large files gives a pointer, an old model is a
pickle. Read as a safetensors length these would only be "the header claims 7306086834561458524 bytes".
"""

# Enough bytes for every signature below, with room for white space before a web page's first tag.
SNIFF_BYTES = 512

_ZIP = b"PK\x03\x04"
# Protocols 0 and 1 have no signature; no known program writes models in them.
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5))

_SIGNATURES = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the model it points to; give the address that serves the file itself",
    ),
    (_ZIP, "a zip or pickle archive (.ckpt, .pt); only safetensors files are accepted"),
    *((start, "a Python pickle (.ckpt, .pt); only safetensors files are accepted") for start in _PICKLES),
    (b"GGUF", "a GGUF file; only safetensors files are accepted"),
    (b"\x89HDF", "an HDF5 file; only safetensors files are accepted"),
    (b"\x1f\x8b", "a gzip archive; only safetensors files are accepted"),
)


def other_format(prefix: bytes) -> str | None:
    """A phrase for what the bytes are, or None when they may be a safetensors file."""
    if _may_be_safetensors(prefix):
        return None
    for signature, phrase in _SIGNATURES:
        if prefix.startswith(signature):
            return phrase
    text = prefix[:SNIFF_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return "a web page (HTML or XML), probably a login or error page; give the address of the file itself"
    if text.startswith((b"{", b"[")):
        return "a JSON document, probably an error message; give the address of the file itself"
    return None


def is_pickle(prefix: bytes) -> bool:
    """Whether the file is a pickle, or a zip archive as PyTorch writes them around one."""
    return not _may_be_safetensors(prefix) and prefix.startswith((_ZIP, *_PICKLES))


def _may_be_safetensors(prefix: bytes) -> bool:
    # The ninth byte of a safetensors file opens its JSON; the length before it may spell anything,
    # a signature included.
    return prefix[8:9] == b"{" and not prefix.startswith(b"version ")
