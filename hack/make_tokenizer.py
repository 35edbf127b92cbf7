"""Writes the CLIP tokenizer files (vocab.json, merges.txt) from OpenAI's BPE table.

The table (MIT licence, OpenAI CLIP) ships inside the Python package `open_clip_torch` as
`open_clip/bpe_simple_vocab_16e6.txt.gz`; unzip the wheel and pass that file:

    folder=runtime/sd_runtime/models/configs/clip_tokenizer
    python hack/make_tokenizer.py bpe_simple_vocab_16e6.txt.gz $folder
"""

import gzip
import json
import pathlib
import sys

FIRST_MERGE, LAST_MERGE = 1, 48_895  # line 0 is a header; CLIP uses 48,894 merges
VOCABULARY_SIZE = 49_408


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for byte values, in the order of their token ids."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(rest))]


def main() -> None:
    table, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    merges = gzip.decompress(table.read_bytes()).decode().split("\n")[FIRST_MERGE:LAST_MERGE]
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(char + "</w>" for char in alphabet), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    if len(tokens) != VOCABULARY_SIZE:
        sys.exit(f"{table}: {len(tokens)} tokens, expected {VOCABULARY_SIZE}: not CLIP's BPE table")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
