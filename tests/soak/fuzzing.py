"""A process that throws inputs at the readers of strangers' files, guided by the lines they reach.

`python -m tests.soak.fuzzing header|pickles [libFuzzer's arguments]`. A header is mutated as text and as what
it describes, with its length put right again; a pickle by its bytes and by its opcodes, inside of a whole
file of either format. Any exception but the readers' own ends the process with the input that caused it.
"""

import contextlib
import importlib
import io
import json
import os
import pickle
import pickletools
import random
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")
with atheris.instrument_imports(include=["sd_modelfiles"]):
    from sd_modelfiles import describe, header, pickles
    from sd_modelfiles.family import Family
    from sd_modelfiles.kinds import ModelType

# What names of tensors are made of, so that every rule is reached.
WORDS = (
    *(
        "model.diffusion_model.",
        "first_stage_model.",
        "cond_stage_model.transformer.",
        "cond_stage_model.model.",
    ),
    *(
        "conditioner.embedders.0.model.",
        "conditioner.embedders.1.model.",
        "double_blocks.0.",
        "control_model.",
    ),
    *("lora_unet_", "lora_te_text_model_encoder_layers_0_self_attn_k_proj", "lora_te2_", "input_blocks_4_1_"),
    *("transformer_blocks.1.", "transformer_blocks_0_attn2_to_k", "attn2.to_k.weight", "attn2.to_k.down"),
    *(".lora_down.weight", ".lora_A.weight", ".lora.down.weight", ".hada_w1_b", ".lokr_w1", ".lokr_w2_b"),
    *(".a1.weight", ".on_input", ".diff", ".dora_scale", ".oft_blocks", "emb_params", "clip_l", "clip_g"),
    *("768.0.linear.0.weight", "1024.1.linear1.bias", "encoder.conv_in.weight", "decoder.conv_in.weight"),
    *("controlnet_cond_embedding.", "lora_controlnet", "lllite_unet_", "ip_adapter.1.to_k_ip.weight"),
    *("adapter.body.0.resnets.0.block1.weight", "adapter.conv_in.weight", "body.0.weight", "body.1.weight"),
    *("conv_first.weight", "model.1.sub.0.RDB1.conv1.0.weight", "input_blocks.0.0.weight", "__metadata__"),
    *("ss_base_model_version", "sdxl_", "sd_v1", "modelspec.architecture", "\\ud800", "\u00e9", "\U0001f600"),
)
SIDES = (0, 1, 2, 3, 4, 8, 9, 16, 64, 320, 768, 1024, 1280, 2048, 2**31, 2**62, 2**63)

OPCODES = (
    *(
        b"N",
        b")",
        b"]",
        b"}",
        b"(",
        b"t",
        b"0",
        b"1",
        b"2",
        b"a",
        b"e",
        b"s",
        b"u",
        b"d",
        b"l",
        b".",
        b"R",
        b"b",
    ),
    *(b"\x85", b"\x86", b"\x87", b"\x81", b"\x92", b"\x93", b"\x94", b"\x8f", b"\x90", b"\x91", b"Q", b"o"),
    *(
        b"h\x00",
        b"q\x00",
        b"h\x01",
        b"q\x01",
        b"K\x01",
        b"J\xff\xff\xff\xff",
        b"\x8a\x01\x07",
        b"\x88",
        b"\x89",
    ),
    *(
        b"I01\n",
        b"L9L\n",
        b"g0\n",
        b"p0\n",
        b"U\x01\xff",
        b"\x8c\x010",
        b"C\x01x",
        b"\x82\x01",
        b"ios\nsystem\n",
    ),
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_tensor_v3\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch.nn.modules.container\nParameterDict\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch.storage\nUntypedStorage\n",
    b"ctorch\nfloat8_e5m2\n",
    b"ctorch\nSize\n",
    b"cos\nsystem\n",
    b"X\x07\x00\x00\x00storage",
    b"X\x06\x00\x00\x00module",
    b"X\x0f\x00\x00\x00string_to_param",
    b"X\x0a\x00\x00\x00state_dict",
)
STORAGES = {str(number): bytes(4096) for number in range(6)}
MAGIC = 0x1950A86A20F9469CFC6C  # the first of the old format's five pickles
# How a pickle reaches the reader: the file as it is, in an archive, or as the old format's value.
WHOLE, IN_ARCHIVE, IN_SEQUENCE = range(3)


def read_header(data: bytes) -> None:
    """What must hold of every header that is accepted, and of what is said of it."""
    try:
        length = header.header_length(data[: header.LENGTH_BYTES])
        parsed = header.parse(data[header.LENGTH_BYTES :][:length])
    except header.HeaderError:
        return
    assert parsed.file_size >= parsed.data_start
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in parsed.tensors.items()}
    written = header.encode(shapes, parsed.metadata)
    again = header.parse(written[header.LENGTH_BYTES :])
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in again.tensors.items()} == shapes
    assert again.metadata == parsed.metadata
    found = describe.describe(parsed)
    types, families = list(ModelType), ["Auto", *Family]
    wanted = types[len(data) % len(types)]
    try:
        judged = describe.judge(parsed, wanted_type=wanted, wanted_family=families[length % len(families)])
    except describe.Contradicted as error:
        assert (
            found.type is not wanted
            or isinstance(error, describe.FamilyContradicted)
            or "lacks" in str(error)
        )
    else:
        assert judged.type is wanted


def read_pickle(data: bytes) -> None:
    """What must hold of every pickle that is accepted."""
    content = as_file(data)
    try:
        report = pickles.inspect(io.BytesIO(content))
    except (pickles.PickleMalformed, pickles.PickleUnsafe):
        return
    assert not report.dangerous
    assert report.tensors
    assert all("system" not in words for words in report.globals)
    made = io.BytesIO()
    with os.fdopen(os.memfd_create("source"), "wb") as source:
        source.write(content)
        source.flush()
        assert pickles.convert(Path(f"/proc/self/fd/{source.fileno()}"), made) == report
    assert len(made.getvalue()) == report.header.file_size


def as_file(data: bytes) -> bytes:
    kind, payload = data[:1], data[1:]
    if kind == bytes([IN_ARCHIVE]):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(zipfile.ZipInfo("a/data.pkl"), payload)
            for key, content in STORAGES.items():
                archive.writestr(zipfile.ZipInfo(f"a/data/{key}"), content)
        return made.getvalue()
    if kind == bytes([IN_SEQUENCE]):
        start = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, {"little_endian": True}))
        keys = b"\x80\x02](" + b"".join(b"U\x01" + key.encode() for key in STORAGES) + b"e."
        storages = b"".join(struct.pack("<q", len(data) // 4) + data for data in STORAGES.values())
        return start + payload + keys + storages
    return payload


def mutate_header(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    text = data[header.LENGTH_BYTES :]
    changed: bytes | None = None
    if chance.random() < 0.5:
        changed = _described_otherwise(text, chance)
    if changed is None:
        changed = bytes(atheris.Mutate(text, max(1, max_size - header.LENGTH_BYTES)))
    length = len(changed) if chance.random() < 0.95 else chance.getrandbits(chance.choice((8, 32, 64)))
    return (struct.pack("<Q", length) + changed)[:max_size]


def _described_otherwise(text: bytes, chance: random.Random) -> bytes | None:
    """Another header like this one; offsets that fit, mostly."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    for _ in range(chance.randrange(1, 4)):
        _change(document, chance)
    if chance.random() < 0.8:
        _fit_offsets(document)
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace")


def _change(document: dict[str, Any], chance: random.Random) -> None:
    names = list(document)
    old = chance.choice(names) if names else ""
    new = chance.choice(("", old, *chance.sample(WORDS, 2))) + chance.choice(WORDS)
    shape = [
        chance.choice(SIDES[:14] if chance.random() < 0.9 else SIDES) for _ in range(chance.randrange(5))
    ]
    tensor = {"dtype": chance.choice(("F16", "F32", "U8", "F4", "X")), "shape": shape, "data_offsets": [0, 0]}
    match chance.randrange(5):
        case 0:
            document.pop(old, None)
        case 1:
            document[new] = tensor
        case 2:
            document[new] = document.pop(old, tensor)
        case 3:
            document["__metadata__"] = {chance.choice(WORDS): chance.choice(WORDS)}
        case _:
            document[old] = chance.choice((tensor, [], {}, None, 1.5, "x", {"dtype": "U8"}))


def _fit_offsets(document: dict[str, Any]) -> None:
    position = 0
    for tensor in document.values():
        if isinstance(tensor, dict) and isinstance(tensor.get("shape"), list):
            bits = header.BITS.get(str(tensor.get("dtype")), 8)
            for side in tensor["shape"]:
                bits *= side if isinstance(side, int) else 1
            tensor["data_offsets"] = [position, position + bits // 8]
            position += bits // 8


def mutate_pickle(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    kind = data[:1] if chance.random() < 0.9 else bytes([chance.randrange(3)])
    payload = data[1:]
    if kind != bytes([WHOLE]) and chance.random() < 0.6:
        parts = _opcodes(payload)
        for _ in range(chance.randrange(1, 4)):
            _rearrange(parts, chance)
        payload = b"".join(parts)
    else:
        payload = bytes(atheris.Mutate(payload, max(1, max_size - 1)))
    return (kind + payload)[:max_size]


def _opcodes(payload: bytes) -> list[bytes]:
    """The pickle's opcodes with their arguments; what cannot be read is the last of them."""
    places: list[int] = []
    with contextlib.suppress(ValueError, OverflowError):
        places.extend(place for _, _, place in pickletools.genops(payload) if place is not None)
    return [payload[begin:end] for begin, end in zip([0, *places], [*places, len(payload)], strict=True)]


def _rearrange(parts: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(parts) + 1)
    match chance.randrange(4):
        case 0:
            parts.insert(place, chance.choice(OPCODES))
        case 1 if parts:
            parts.pop(place % len(parts))
        case 2 if parts:
            parts[place % len(parts)] = chance.choice(OPCODES)
        case _:
            size = chance.randrange(1, 12)
            begin = chance.randrange(len(parts) + 1)
            parts[place:place] = parts[begin : begin + size]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[bytes, int, int], bytes]]] = {
    "header": (read_header, mutate_header),
    "pickles": (read_pickle, mutate_pickle),
}


def main() -> None:
    target, mutator = TARGETS[sys.argv[1]]
    sys.setrecursionlimit(1000)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target, custom_mutator=mutator)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    main()
