"""Files that PyTorch itself writes are read as it reads them: names, numbers, order of elements."""

import io
import math
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load, save

from sd_modelfiles import describe, header, pickles
from sd_modelfiles.kinds import ModelType
from sd_modelfiles.pickles import copying

DEMO = Path(__file__).parents[3] / "demo" / "models"

LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@pytest.fixture
def convert(tmp_path):
    """What a value becomes: the bytes of the safetensors file."""

    def convert(value, *, legacy=False, **changes):
        source = tmp_path / "model.pt"
        torch.save(value, source, _use_new_zipfile_serialization=not legacy, **changes)
        made = io.BytesIO()
        report = pickles.convert(source, made)
        assert report == pickles.inspect(source)
        assert report.dangerous == ()
        assert report.format == ("torch legacy" if legacy else "torch zip")
        assert header.parse(made.getvalue()[8 : report.header.data_start]) == report.header
        assert len(made.getvalue()) == report.header.file_size
        return made.getvalue()

    return convert


@pytest.fixture
def inspect_wide(archive, pickle, monkeypatch):
    """Reads an archive as it is written beyond 4 GiB, after a change."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 12)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    content = archive(pickle(pickle.mapping(a=pickle.tensor("0", 4))), {"0": bytes(16)})
    return lambda change: pickles.inspect(io.BytesIO(change(content)))


def numbers(*shape, dtype=torch.float32):
    return torch.arange(math.prod(shape)).reshape(shape).to(dtype)


DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]


@LEGACY
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_of_number_is_kept(convert, dtype, legacy):
    tensors = {"a": numbers(2, 3, dtype=dtype), "b": numbers(5, dtype=dtype)}
    assert convert(tensors, legacy=legacy) == save(tensors, {"format": "pt"})


def test_tensors_stand_in_the_order_of_the_safetensors_library(convert):
    tensors = {f"{place}-{dtype}": numbers(3, dtype=dtype) for dtype in DTYPES for place in ("z", "a")}
    assert convert(tensors) == save(tensors, {"format": "pt"})


VIEWS = {
    "a part": numbers(6, 4)[2:5],
    "a column": numbers(6, 4)[:, 2],
    "every second": numbers(20)[1::2],
    "transposed": numbers(6, 4).t(),
    "permuted": numbers(2, 3, 4, 5).permute(3, 1, 0, 2),
    "channels last": numbers(4, 6, 3, 3).to(memory_format=torch.channels_last),
    "a part of a permuted": numbers(4, 6, 3, 3).permute(2, 0, 3, 1)[1:, ::2, 1:],
    "a window": numbers(30).as_strided((4, 3), (5, 2), 1),
    "repeating within its storage": numbers(30).as_strided((4, 3), (1, 1), 2),
    "one number many times": numbers(30).as_strided((3, 2), (0, 0), 7),
    "rows many times": numbers(30).as_strided((3, 5), (0, 2), 7),
    "nothing": numbers(0, 4),
    "a scalar": torch.tensor(3.5),
    "sides of one": numbers(6)[None, :, None].as_strided((1, 6, 1), (99, 1, 77)),
    "bytes": numbers(6, 4, dtype=torch.uint8).t(),
    "halves": numbers(6, 4, dtype=torch.float16).t(),
    "doubles": numbers(6, 4, dtype=torch.float64).t(),
    "complex": numbers(6, 4, dtype=torch.complex64).t(),
}


@LEGACY
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_the_elements_of_a_view_are_put_in_order(convert, view, legacy):
    assert convert({"a": view}, legacy=legacy) == save({"a": view.clone().contiguous()}, {"format": "pt"})


def test_a_tensor_larger_than_a_block_is_put_in_order_block_by_block(convert, monkeypatch):
    monkeypatch.setattr(copying, "BLOCK_BYTES", 1000)
    for view in (numbers(300, 70).t(), numbers(7, 11, 13, 5).permute(1, 3, 0, 2)):
        assert convert({"a": view}) == save({"a": view.contiguous()}, {"format": "pt"})


@LEGACY
def test_tensors_that_share_their_numbers_are_written_each_for_itself(convert, legacy):
    shared = numbers(100)
    tensors = {"all": shared, "again": shared, "some": shared[10:20], "rows": shared.reshape(10, 10)}
    separate = {name: tensor.clone() for name, tensor in tensors.items()}
    assert convert(tensors, legacy=legacy) == save(separate, {"format": "pt"})


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.register_buffer("steps", torch.tensor(7))


@LEGACY
@pytest.mark.parametrize("wrapping", [None, "state_dict", "params_ema", "params"])
def test_the_wrapping_of_a_state_dict_is_taken_off(convert, wrapping, legacy):
    state = Holder().state_dict()
    value = state if wrapping is None else {wrapping: state, "epoch": 3}
    made = load(convert(value, legacy=legacy))
    assert made.keys() == {"layer.weight", "layer.bias", "steps"}
    assert all(torch.equal(made[name], tensor) for name, tensor in state.items())


def test_smoothed_weights_are_taken_before_plain_ones(convert):
    value = {"params": {"a": torch.zeros(2)}, "params_ema": {"a": torch.ones(2)}}
    assert load(convert(value))["a"].tolist() == [1, 1]


@LEGACY
def test_containers_within_each_other_are_joined_by_dots(convert, legacy):
    value = {
        "deep": OrderedDict(one=[torch.ones(1), (torch.ones(2), {"x": torch.ones(3)})]),
        "parameter": torch.nn.Parameter(torch.ones(4)),
        "no tensor": {"set": {1, 2}, "size": torch.Size([1, 2]), "type": torch.float16, "nothing": None},
        "device": torch.device("cpu"),
        "numpy": numpy.float64(3.5),
        7: torch.ones(5),
    }
    made = load(convert(value, legacy=legacy))
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == {
        "deep.one.0": (1,),
        "deep.one.1.0": (2,),
        "deep.one.1.1.x": (3,),
        "parameter": (4,),
        "7": (5,),
    }


def test_a_tensor_with_attributes_of_its_own_is_read(convert):
    tensor = numbers(3)
    tensor.note = "mine"
    parameter = torch.nn.Parameter(numbers(2))
    parameter.note = "mine too"
    assert load(convert({"a": tensor, "b": parameter})).keys() == {"a", "b"}


@LEGACY
def test_plain_values_beside_the_tensors_become_notes(convert, legacy):
    value = {
        320: [{"linear.0.weight": torch.ones(2, 2)}, {"linear.0.weight": torch.ones(2, 2)}],
        "layer_structure": [1, 2.5, 1],
        "activation_func": "relu",
        "is_layer_norm": False,
        "optional_info": None,
        "step": 150,
        "long": "x" * 5000,
        "nested": [[1]],
    }
    content = convert(value, legacy=legacy)
    found = header.parse(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert found.metadata == {
        "layer_structure": "[1, 2.5, 1]",
        "activation_func": "relu",
        "is_layer_norm": "false",
        "optional_info": "null",
        "step": "150",
        "format": "pt",
    }
    assert found.tensors.keys() == {"320.0.linear.0.weight", "320.1.linear.0.weight"}


EMBEDDINGS = {
    "A1111": {"string_to_param": {"*": numbers(2, 768)}, "string_to_token": {"*": 265}, "name": "x"},
    "its first trainer": {"string_to_param": torch.nn.ParameterDict({"*": numbers(2, 768)})},
}


@LEGACY
@pytest.mark.parametrize("value", EMBEDDINGS.values(), ids=EMBEDDINGS.keys())
def test_an_embedding_has_one_tensor_of_the_usual_name(convert, value, legacy):
    made = load(convert(value, legacy=legacy))
    assert made.keys() == {"emb_params"}
    assert torch.equal(made["emb_params"], numbers(2, 768))


def test_the_parameters_of_an_early_trainer_are_found(tmp_path, archive, pickle):
    """torch.nn.ParameterDict before PyTorch 1.12: an object whose state has a dictionary `_parameters`."""
    held = pickle.mapping(_parameters=pickle.mapping(star=pickle.tensor("0", 4)))
    value = pickle.mapping(
        string_to_param=pickle.instance("torch.nn.modules.container", "ParameterDict", held)
    )
    path = tmp_path / "embedding.pt"
    path.write_bytes(archive(pickle(value), {"0": bytes(16)}))
    assert pickles.inspect(path).tensors.keys() == {"emb_params"}


def test_the_notes_of_lightning_do_not_stop_a_checkpoint(tmp_path, archive, pickle):
    symbol = pickle.symbol("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    callbacks = pickle.pairs((symbol, pickle.mapping(monitor=b"N")))
    value = pickle.mapping(callbacks=callbacks, state_dict=pickle.mapping(a=pickle.tensor("0", 4)))
    path = tmp_path / "sd-v1.ckpt"
    path.write_bytes(archive(pickle(value), {"0": bytes(16)}))
    assert pickles.inspect(path).tensors.keys() == {"a"}


def test_a_part_of_another_storage_is_read_as_early_versions_wrote_it(tmp_path, archive, pickle):
    value = pickle.mapping(a=pickle.tensor("0", 2, view=("1", 3, 2), stored=8))
    path = tmp_path / "old.pt"
    path.write_bytes(archive(pickle(value), {"0": numbers(8).numpy().tobytes()}))
    made = io.BytesIO()
    pickles.convert(path, made)
    assert load(made.getvalue())["a"].tolist() == [3, 4]


def test_a_part_of_a_storage_of_bytes_begins_at_a_byte(tmp_path, archive, pickle):
    def content(base):
        kept = pickle.storage("0", 32, module="torch.storage", kind="UntypedStorage", view=("1", base, 8))
        row = pickle.row(pickle.number(2))
        numbers_of = (pickle.number(0), row, pickle.row(pickle.number(1)), b"\x89", b"N")
        dtype = pickle.symbol("torch", "float32")
        made = pickle.call("torch._utils", "_rebuild_tensor_v3", kept, *numbers_of, dtype)
        return archive(pickle(pickle.mapping(a=made)), {"0": numbers(8).numpy().tobytes()})

    path, made = tmp_path / "old.pt", io.BytesIO()
    path.write_bytes(content(12))
    pickles.convert(path, made)
    assert load(made.getvalue())["a"].tolist() == [3, 4]
    with pytest.raises(pickles.PickleMalformed, match="within an element"):
        pickles.inspect(io.BytesIO(content(13)))


LOST = {
    "an array of NumPy's": ({"w": torch.ones(2), "mean": numpy.ones(3)}, "'mean' would be lost"),
    "an array deep within": ({"w": torch.ones(2), "x": [{"y": numpy.ones(3)}]}, "'x.0.y' would be lost"),
    "a key of several parts": ({"w": torch.ones(2), ("t", 1): torch.ones(3)}, r"no text: \"\('t', 1\)\""),
    "no key": ({"w": torch.ones(2), None: {"x": torch.ones(3)}}, r"no text: 'None\.x'"),
    "a deep key": ({"w": torch.ones(2), (((1,),),): torch.ones(3)}, "no text: 'a tuple'"),
    "a set": ({"w": torch.ones(2), "some": {torch.ones(3)}}, "'some' would be lost"),
    "a frozen set": ({"w": torch.ones(2), "some": frozenset([torch.ones(3)])}, "'some' would be lost"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@LEGACY
@pytest.mark.parametrize(("value", "says"), LOST.values(), ids=LOST.keys())
def test_a_pickle_of_which_numbers_would_be_lost_is_not_converted(convert, value, says, legacy, protocol):
    with pytest.raises(pickles.PickleMalformed, match=says):
        convert(value, legacy=legacy, pickle_protocol=protocol)


def test_a_storage_without_a_tensor_would_be_lost(archive, pickle):
    value = pickle.mapping(a=pickle.tensor("0", 4), b=pickle.storage("0", 4))
    with pytest.raises(pickles.PickleMalformed, match="'b' would be lost"):
        pickles.inspect(io.BytesIO(archive(pickle(value), {"0": bytes(16)})))


@LEGACY
def test_what_lies_beside_wrapped_weights_is_a_trainers_and_stops_nothing(convert, legacy):
    value = {"state_dict": {"a": torch.ones(2)}, "seeds": numpy.ones(3), None: torch.ones(1)}
    assert load(convert(value, legacy=legacy)).keys() == {"a"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@LEGACY
def test_every_protocol_is_read(convert, protocol, legacy):
    tensors = {"a": numbers(3), "ü": numbers(2)}
    assert convert(tensors, legacy=legacy, pickle_protocol=protocol) == save(tensors, {"format": "pt"})


def test_an_archive_may_be_called_anything(tmp_path):
    path = tmp_path / "v1-5 pruned.emaonly.ckpt"
    torch.save({"a": numbers(3)}, path)
    assert pickles.inspect(path).tensors.keys() == {"a"}
    with path.open("rb") as file:
        assert pickles.inspect(file).tensors.keys() == {"a"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("demo-blackout/demo-blackout.pt", ModelType.HYPERNETWORK),
        ("demo-goldie/demo-goldie.pt", ModelType.TEXTUAL_INVERSION),
    ],
)
def test_the_demos_pickles_are_what_they_are(path, expected, tmp_path):
    report = pickles.inspect(DEMO / path)
    assert describe.judge(report.header, wanted_type=expected, wanted_family="SD15").type is expected
    pickles.convert(DEMO / path, tmp_path / "made.safetensors")
    assert header.read(tmp_path / "made.safetensors") == report.header


def test_the_demos_embedding_becomes_the_file_that_is_shipped_beside_it(tmp_path):
    folder = DEMO / "demo-goldie"
    pickles.convert(folder / "demo-goldie.pt", tmp_path / "made.safetensors")
    made, shipped = (
        load(path.read_bytes())
        for path in (tmp_path / "made.safetensors", folder / "demo-goldie.safetensors")
    )
    assert torch.equal(made["emb_params"], shipped["emb_params"])


def test_a_large_checkpoint_is_converted_in_little_memory(tmp_path):
    source, target = tmp_path / "large.ckpt", tmp_path / "large.safetensors"
    tensors = {f"model.diffusion_model.layer{number}.weight": torch.zeros(640, 640) for number in range(120)}
    tensors["transposed"] = torch.zeros(4096, 3000).t()
    torch.save({"state_dict": tensors}, source)
    tracemalloc.start()
    try:
        pickles.convert(source, target)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert target.stat().st_size > 240_000_000
    assert peak < 24_000_000


def test_the_wide_fields_of_large_archives_are_read(inspect_wide):
    assert inspect_wide(lambda content: content).tensors.keys() == {"a"}


WIDE_LIES = {
    "two directories": (lambda content: content[:-10] + bytes(4) + content[-6:], "in two places"),
    "no record": (lambda content: content.replace(b"PK\x06\x06", b"PK\x06\x05"), "not where it should be"),
    "a locator to nowhere": (
        lambda content: content[:-34] + b"\xff" * 8 + content[-26:],
        "not where it should be",
    ),
    "no wide size": (
        lambda content: content.replace(b"\x01\x00\x10\x00", b"\x02\x00\x10\x00"),
        "lacks a size or a place",
    ),
}


@pytest.mark.parametrize(("change", "says"), WIDE_LIES.values(), ids=WIDE_LIES.keys())
def test_wide_fields_that_lie_are_refused(inspect_wide, change, says):
    with pytest.raises(pickles.PickleMalformed, match=says):
        inspect_wide(change)


def test_a_conversion_ends_when_it_is_told_to(tmp_path):
    class Stopped(Exception):
        pass

    calls = iter(range(3))

    def between():
        if next(calls) == 2:
            raise Stopped

    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1024, 1024), "b": torch.zeros(8, 8).t()}, path)
    with pytest.raises(Stopped):
        pickles.convert(path, io.BytesIO(), between=between)
