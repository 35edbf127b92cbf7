"""Pickles that would run code, and files that lie: refused by name, without running, filling or hanging."""

import io
import os
import pickle as pickling
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import pytest
import torch

from sd_modelfiles import pickles
from sd_modelfiles.pickles import PickleMalformed, PickleUnsafe

MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture
def inspect():
    return lambda content, **options: pickles.inspect(io.BytesIO(content), **options)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command="touch ran"):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Chained:
    """As `getattr(os, "system")`, so that the name is not in sight."""

    def __reduce__(self):
        return getattr, ("os", "upper")


def saved(value, **options):
    made = io.BytesIO()
    torch.save(value, made, **options)
    return made.getvalue()


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


UNSAFE = {
    "a command": (pickling.dumps(Evil(), 2)[2:-1], "posix.system"),
    "a command in a later protocol": (pickling.dumps(Evil(), 4)[2:-1], "posix.system"),
    "eval": (b"cbuiltins\neval\n" + text("1") + b"\x85R", "builtins.eval"),
    "Python 2's eval": (b"c__builtin__\neval\n" + text("1") + b"\x85R", "__builtin__.eval"),
    "getattr": (b"cbuiltins\ngetattr\ncos\nsystem\n" + text("x") + b"\x86R", "builtins.getattr"),
    "a file within the file": (
        b"ctorch.storage\n_load_from_bytes\nC\x01x\x85R",
        "torch.storage._load_from_bytes",
    ),
    "torch.load": (b"ctorch\nload\n" + text("x") + b"\x85R", "torch.load"),
    "a pickle within the pickle": (b"c_pickle\nloads\nC\x01.\x85R", "_pickle.loads"),
    "a name from the memo": (
        text("system") + b"q\x000" + text("os") + b"q\x010h\x01h\x00\x93" + text("x") + b"\x85R",
        "os.system",
    ),
    "a name that only looks allowed": (b"ctorch\nFloatStorage.__init__\n", "torch.FloatStorage.__init__"),
    "a letter of another alphabet": ("cсollections\nOrderedDict\n".encode(), "сollections.OrderedDict"),
    "a path into a module": (
        text("torch") + text("_utils._rebuild_tensor_v2") + b"\x93",
        "torch._utils._rebu",
    ),
    "a name that is never called": (b"cos\nsystem\n", "os.system"),
    "a name thrown away": (b"cos\nsystem\n0N", "os.system"),
    "a class called by INST": (b"(" + text("x") + b"ios\nsystem\n", "os.system"),
    "a class called by OBJ": (b"(cos\nsystem\n" + text("x") + b"o", "os.system"),
    "an object of a class": (b"csubprocess\nPopen\n)\x81", "subprocess.Popen"),
    "an object with keywords": (b"csubprocess\nPopen\n)}\x92", "subprocess.Popen"),
    "a state of an object": (b"cshelve\nShelf\n)\x81}b", "shelve.Shelf"),
    "a registered extension": (b"\x82\x01", "extension registered as 1"),
    "a wide extension": (b"\x84\x01\x02\x00\x00", "extension registered as 513"),
    "something dangerous and then nonsense": (b"cos\nsystem\n\xff", "os.system"),
    "something dangerous and then no end": (b"cos\nsystem\n(((", "os.system"),
    "something dangerous in protocol 0": (b"cos\nsystem\n(S'x'\ntR", "os.system"),
    "a whole network": (b"cbasicsr.archs.rrdbnet_arch\nRRDBNet\n)\x81", "basicsr.archs.rrdbnet_arch.RRDBNet"),
    "the inside of an allowed function": (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n" + text("x") + b"\x85}tR",
        "os.system",
    ),
}


@pytest.mark.parametrize(("opcodes", "named"), UNSAFE.values(), ids=UNSAFE.keys())
def test_what_could_run_code_is_refused_by_its_name(inspect, archive, pickle, opcodes, named):
    content = archive(pickle(pickle.mapping(a=pickle.tensor("0", 4), b=opcodes)), {"0": bytes(16)})
    with pytest.raises(PickleUnsafe, match="could run code") as caught:
        inspect(content)
    assert any(named in words for words in caught.value.globals)
    assert named in str(caught.value)


def test_an_allowed_name_does_not_hide_one_that_reads_the_same(inspect, archive, pickle):
    path = text("torch") + text("_utils._rebuild_tensor_v2") + b"\x93"
    content = archive(pickle(pickle.mapping(b=path, a=pickle.tensor("0", 4))), {"0": bytes(16)})
    with pytest.raises(PickleUnsafe):
        inspect(content)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("value", [Evil(), Chained()], ids=["command", "getattr"])
def test_files_of_torch_with_code_in_them_are_refused_and_nothing_runs(
    tmp_path, monkeypatch, inspect, value, legacy
):
    monkeypatch.chdir(tmp_path)
    content = saved({"a": torch.zeros(2), "b": value}, _use_new_zipfile_serialization=not legacy)
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(PickleUnsafe):
        inspect(content)
    with pytest.raises(PickleUnsafe):
        pickles.convert(tmp_path / "model.pt", tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("place", range(5), ids=["magic", "version", "machine", "value", "keys"])
def test_each_of_the_five_pickles_of_the_old_format_is_looked_at(inspect, place):
    parts = [pickling.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True}, {"a": 1}, [])]
    parts[place] = pickling.dumps({"x": Evil(), "little_endian": True}, 2)
    with pytest.raises(PickleUnsafe):
        inspect(b"".join(parts))


def test_what_is_unsafe_can_be_told_without_refusing(inspect, archive, pickle):
    value = pickle.mapping(a=pickle.tensor("0", 4), b=pickling.dumps(Evil(), 2)[2:-1])
    report = inspect(archive(pickle(value), {"0": bytes(16)}), allow_unsafe=True)
    assert report.dangerous == ("posix.system",)
    assert "torch._utils._rebuild_tensor_v2" in report.globals
    assert report.tensors.keys() == {"a"}
    broken = inspect(archive(b"\x80\x02cos\nsystem\n\xff", {}), allow_unsafe=True)
    assert (broken.dangerous, broken.tensors) == (("os.system",), {})


def test_a_program_of_torch_is_refused(tmp_path, inspect):
    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    made = io.BytesIO()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(Network()), made)
    with pytest.raises(PickleUnsafe, match="TorchScript"):
        inspect(made.getvalue())


def tensor(pickle, *shape, **options):
    return pickle(pickle.mapping(a=pickle.tensor("0", *shape, **options)))


def rebuilt(pickle, *arguments):
    return pickle(pickle.mapping(a=pickle.call("torch._utils", "_rebuild_tensor_v2", *arguments)))


LIES = {
    "a storage larger than the file": (lambda p: tensor(p, 4, stored=2**30), "the file has fewer"),
    "a storage larger than what lies there": (lambda p: tensor(p, 5), "the file has fewer"),
    "a tensor larger than its storage": (lambda p: tensor(p, 5, stored=4), "more elements than its storage"),
    "a tensor behind the end": (lambda p: tensor(p, 4, offset=1, stored=4), "beyond the end"),
    "strides behind the end": (lambda p: tensor(p, 2, 2, strides=(3, 1)), "beyond the end"),
    "a number repeated": (lambda p: tensor(p, 1000, 1000, strides=(0, 0), stored=4), "more elements"),
    "a negative offset": (lambda p: tensor(p, 2, offset=-1, stored=4), "no whole numbers"),
    "a negative stride": (lambda p: tensor(p, 2, strides=(-1,), stored=4), "no whole numbers"),
    "a negative side": (lambda p: tensor(p, -2, stored=4), "no whole numbers"),
    "sides without strides": (lambda p: tensor(p, 2, 2, strides=(1,)), "2 sides and 1 strides"),
    "65 sides": (lambda p: tensor(p, *[1] * 65), "65 sides"),
    "nothing of an enormous shape": (
        lambda p: tensor(p, 2**31 - 1, 2**31 - 1, 2**31 - 1, 0, stored=4),
        "too large",
    ),
    "a storage that is not there": (lambda p: p(p.mapping(a=p.tensor("9", 4))), "'9' is not in the file"),
    "a storage by a path": (lambda p: p(p.mapping(a=p.tensor("../data/0", 4))), "is not in the file"),
    "a part outside of its storage": (lambda p: tensor(p, 4, view=("x", 2, 4)), "does not fit"),
    "a storage of words": (
        lambda p: p(p.mapping(a=p.row(p.text("storage"), p.text("float"), p.text("0")) + b"Q")),
        "not a storage as PyTorch",
    ),
    "a storage of a type that is none": (
        lambda p: p(
            p.row(p.text("storage"), p.symbol("torch", "Size"), p.text("0"), p.text("cpu"), p.number(4))
            + b"Q"
        ),
        "no type of storage",
    ),
    "a tensor of words": (
        lambda p: rebuilt(p, p.text("x"), p.number(0), b")", b")", b"\x89", b"N"),
        "no view of a storage",
    ),
    "a tensor of too little": (lambda p: rebuilt(p, p.storage("0", 4)), "other arguments than PyTorch"),
    "a tensor kept as its negative": (
        lambda p: rebuilt(
            p,
            p.storage("0", 4),
            p.number(0),
            p.row(p.number(4)),
            p.row(p.number(1)),
            b"\x89",
            b"N",
            p.mapping(neg=b"\x88"),
        ),
        "negative",
    ),
    "a type that is called": (
        lambda p: p(p.call("torch", "FloatStorage", p.number(4))),
        "FloatStorage is called",
    ),
    "an object of a function": (lambda p: p(p.symbol("torch", "Size") + b")\x81"), "an object of torch.Size"),
    "a text that is called": (lambda p: p(p.text("x") + b")R"), "no function"),
    "no tensor": (lambda p: p(p.mapping(a=p.number(1))), "no tensor with a name"),
    "a tensor without a name": (lambda p: p(p.tensor("0", 4)), "no name of its own"),
    "two tensors of one name": (
        lambda p: p(p.pairs((p.number(1), p.tensor("0", 4)), (p.text("1"), p.tensor("0", 4)))),
        "no name of its own: '1'",
    ),
    "the name of the notes": (lambda p: p(p.mapping(__metadata__=p.tensor("0", 4))), "'__metadata__'"),
    "two embeddings": (
        lambda p: p(p.mapping(string_to_param=p.mapping(a=p.tensor("0", 4), b=p.tensor("0", 4)))),
        "2 tensors; an embedding has one",
    ),
    "an empty pickle": (lambda p: b"", "ends in the middle"),
    "no end": (lambda p: p(p.tensor("0", 4))[:-1], "ends in the middle"),
    "an unknown opcode": (lambda p: b"\x80\x02\xff.", "no opcode"),
    "an unknown protocol": (lambda p: b"\x80\x09N.", "protocol 9"),
    "an empty stack": (lambda p: b"\x80\x020.", "empty stack"),
    "a mark that was never made": (lambda p: b"\x80\x02t.", "never made"),
    "a value that was never memoized": (lambda p: b"\x80\x02h\x07.", "never memoized"),
    "a key without a value": (lambda p: b"\x80\x02}(Nu.", "without a value"),
    "a list that is a number": (lambda p: b"\x80\x02K\x01Na.", "no list"),
    "a dictionary that is a number": (lambda p: b"\x80\x02K\x01NNs.", "no dictionary"),
    "a state of a number": (lambda p: b"\x80\x02K\x01Nb.", "that has none"),
    "a number of a billion bytes": (lambda p: b"\x80\x02\x8b\x00\x00\x00\x40.", "1073741824 bytes"),
    "a number of negative length": (lambda p: b"\x80\x02\x8b\xff\xff\xff\xff.", "-1 bytes"),
    "a number of a hundred digits": (lambda p: b"\x80\x02L" + b"9" * 100 + b"L\n.", "no whole number"),
    "a line of a million letters": (lambda p: b"\x80\x02c" + b"x" * 1_000_000 + b"\n\n.", "without an end"),
    "a text of exabytes": (lambda p: b"\x80\x04\x8d" + b"\xff" * 8 + b".", "ends in the middle"),
    "bytes of exabytes": (lambda p: b"\x80\x04\x8e" + b"\xff" * 8 + b".", "ends in the middle"),
    "a text that is no UTF-8": (lambda p: b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
    "a name that is no text": (lambda p: b"\x80\x04K\x01K\x02\x93.", "no text"),
}


@pytest.mark.parametrize(("opcodes", "says"), LIES.values(), ids=LIES.keys())
def test_a_pickle_that_lies_is_refused(inspect, archive, pickle, opcodes, says):
    with pytest.raises(PickleMalformed, match=says):
        inspect(archive(opcodes(pickle), {"0": bytes(16)}))


def nested(levels):
    return b"\x80\x02" + b"(" * levels + b"N" + b"t" * levels + b"."


def laughing(pickle):
    """A list of ten of the list before, forty times: 10^40 ways to one tensor."""
    made = pickle.tensor("0", 4) + b"q\x00"
    for level in range(40):
        made += b"](" + bytes([ord("h"), level]) * 10 + b"e" + bytes([ord("q"), level + 1])
    return pickle(made)


def wide(pickle):
    """A list of a hundred thousand, a thousand times."""
    return pickle(b"](" + b"N" * 100_000 + b"eq\x000](" + b"h\x00" * 1000 + b"e")


def copied(pickle):
    """As above, each time made a dictionary of its own."""
    pair = pickle.row(pickle.text("a"), b"N")
    ordered = pickle.symbol("collections", "OrderedDict") + b"q\x01"
    return pickle(
        b"]("
        + (pair + b"q\x02" + b"h\x02" * 50_000)
        + b"eq\x000"
        + ordered
        + b"0]("
        + b"h\x01h\x00\x85R" * 2000
        + b"e"
    )


def cyclic(pickle):
    return pickle(b"]q\x00h\x00a" + pickle.tensor("0", 4) + b"a")


BOMBS = {
    "tuples in tuples": lambda p: nested(300_000),
    "a tuple in tuples as a key": lambda p: b"\x80\x02}" + nested(200_000)[2:-1] + b"Ns.",
    "a billion ways to one tensor": laughing,
    "a list that is in itself": cyclic,
    "a long list many times": wide,
    "a long list copied many times": copied,
    "empty lists": lambda p: b"\x80\x02](" + b"]" * 3_000_000 + b"e.",
    "empty dictionaries": lambda p: b"\x80\x02](" + b"}" * 3_000_000 + b"e.",
    "marks": lambda p: b"\x80\x02" + b"(" * 3_000_000 + b".",
    "memoized values": lambda p: b"\x80\x04N" + b"\x94" * 3_000_000 + b".",
    "distant places of the memo": lambda p: (
        b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", n * 99_991) for n in range(40_000)) + b"."
    ),
    "long names": lambda p: p(p.pairs((p.text("x" * 1_000_000), p.tensor("0", 4)))),
    "many globals": lambda p: b"\x80\x02" + b"".join(b"cx\n%d\n" % n for n in range(5000)) + b".",
    "opcodes that do nothing": lambda p: b"\x80\x02" + b"N0" * 4_000_000 + b"N.",
    "a long text, a letter of it wide": lambda p: p(p.text("\U0001f600" + "x" * 8_000_000)),
    "long texts, a letter of each wide": lambda p: p(p.text("\U0001f600" + "x" * 1_000_000) * 8),
    "texts of Python 2": lambda p: p(b"T" + struct.pack("<i", 8_000_000) + b"x" * 8_000_000),
    "names of functions": lambda p: p(p.symbol("torch", "Size") * 600_000),
    "whole numbers": lambda p: p(p.number(2**30) * 1_500_000),
    "one value": lambda p: p(b"N" * 8_000_000),
    "one tensor by many names": lambda p: p(p.tensor("0", 4) + b"q\x000](" + b"h\x00" * 90_000 + b"e"),
    "wide names": lambda p: p(
        p.tensor("0", 4)
        + b"q\x000"
        + p.pairs(*((p.text(f"{number}" + "\U0001f600" * 900), b"h\x00") for number in range(1500)))
    ),
}


@pytest.mark.parametrize("opcodes", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_takes_little_memory_and_time(inspect, archive, pickle, opcodes):
    content = archive(opcodes(pickle), {"0": bytes(16)})
    began = time.process_time()
    with pytest.raises((PickleMalformed, PickleUnsafe)):
        inspect(content)
    assert time.process_time() - began < 10


# Tracing makes of millions of opcodes half a minute.
@pytest.mark.parametrize("name", sorted(BOMBS.keys() - {"opcodes that do nothing", "one value"}))
def test_a_bomb_takes_no_more_memory_than_is_allowed(inspect, archive, pickle, name):
    content = archive(BOMBS[name](pickle), {"0": bytes(16)})
    tracemalloc.start()
    try:
        with pytest.raises((PickleMalformed, PickleUnsafe)):
            inspect(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * 1024 * 1024


def scattered(pickle):
    """Twenty sides of two in the opposite order: every element has to be moved for itself."""
    sides = 26
    return pickle(
        pickle.mapping(a=pickle.tensor("0", *[2] * sides, strides=tuple(2**n for n in range(sides))))
    )


def test_elements_that_would_take_minutes_to_put_in_order_are_refused(tmp_path, archive, pickle):
    with pytest.raises(PickleMalformed, match="too scattered"):
        pickles.inspect(io.BytesIO(archive(scattered(pickle), {"0": bytes(4 * 2**26)})))


def test_tensors_that_share_their_numbers_cannot_fill_a_disk(archive, pickle, inspect):
    value = pickle.mapping(**{f"t{number}": pickle.tensor("0", 1000, 1000) for number in range(100)})
    with pytest.raises(PickleMalformed, match="would take 4000"):
        inspect(archive(pickle(value), {"0": bytes(4_000_000)}))


# Archives


def good(archive, pickle, **options):
    return archive(pickle(pickle.mapping(a=pickle.tensor("0", 4))), {"0": bytes(16)}, **options)


@pytest.mark.parametrize(
    "name",
    ["../archive", "/archive", "a/../b", "a//b", "a\\b", "./a"],
    ids=["up", "root", "back", "empty", "\\", "."],
)
def test_names_that_climb_out_of_the_archive_are_refused(inspect, archive, pickle, name):
    with pytest.raises(PickleMalformed, match="no name of a member"):
        inspect(good(archive, pickle, name=name))


def test_a_member_may_not_stand_in_the_archive_twice(inspect, archive, pickle):
    made = io.BytesIO(good(archive, pickle))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(made, "a") as opened:
        opened.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02N.")
    with pytest.raises(PickleMalformed, match=r"'archive/data.pkl' twice"):
        inspect(made.getvalue())


def test_two_pickles_are_refused(inspect, archive, pickle):
    content = good(archive, pickle, more={"other/data.pkl": b"\x80\x02N."})
    with pytest.raises(PickleMalformed, match=r"2 members data\.pkl"):
        inspect(content)


def test_an_archive_without_a_pickle_is_refused(inspect):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("readme.txt", "hello")
    with pytest.raises(PickleMalformed, match=r"0 members data\.pkl"):
        inspect(made.getvalue())


def test_a_name_that_differs_where_the_member_stands_is_refused(inspect, archive, pickle):
    content = good(archive, pickle)
    for old, new in ((b"archive/data.pkl", b"archive/evil.pkl"), (b"archive/data/0", b"archive/data/1")):
        with pytest.raises(PickleMalformed, match="something else where it stands"):
            inspect(content.replace(old, new, 1))


def test_members_that_lie_over_each_other_are_refused(inspect):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr(zipfile.ZipInfo("a/data.pkl"), b"\x80\x02N.")
        opened.writestr(zipfile.ZipInfo("a/data/0"), bytes(16))
        first, _ = opened.infolist()
        first.file_size = first.compress_size = 60
    with pytest.raises(PickleMalformed, match="overlap"):
        inspect(made.getvalue())


def test_a_member_that_reaches_into_the_directory_is_refused(inspect):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr(zipfile.ZipInfo("a/data.pkl"), b"\x80\x02N.")
        (only,) = opened.infolist()
        only.file_size = only.compress_size = 50
    with pytest.raises(PickleMalformed, match="into its directory"):
        inspect(made.getvalue())


def test_a_zip_bomb_is_not_unpacked(inspect, pickle):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a/data.pkl", b"\x80\x02" + b"N0" * 50_000_000)
    with pytest.raises(PickleMalformed, match="compressed"):
        inspect(made.getvalue())
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(zipfile.ZipInfo("a/data.pkl"), pickle(pickle.mapping(a=pickle.tensor("0", 4))))
        opened.writestr("a/data/0", bytes(16))
    with pytest.raises(PickleMalformed, match="'0' is not in the file as it is"):
        inspect(made.getvalue())


def test_what_was_written_on_a_big_endian_machine_is_refused(inspect, archive, pickle):
    with pytest.raises(PickleMalformed, match="big-endian"):
        inspect(good(archive, pickle, more={"byteorder": b"big"}))
    parts = [pickling.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": False}, {}, [])]
    with pytest.raises(PickleMalformed, match="big-endian"):
        inspect(b"".join(parts))


def change_end(content, **changes):
    fields = dict(
        zip(
            ("disk", "start", "here", "count", "length", "begin", "comment"),
            struct.unpack("<4H2LH", content[-18:]),
            strict=True,
        )
    )
    return content[:-18] + struct.pack("<4H2LH", *(fields | changes).values())


ENDS = {
    "a count too large": ({"count": 9}, "shorter than it says"),
    "a count too small": ({"count": 1}, "longer than it says"),
    "more members than a model has": ({"count": 20_001}, "20001 members; at most 20000"),
    "a directory elsewhere": ({"begin": 0}, "does not lie before its end"),
    "a directory of 4 GiB": ({"length": 2**32 - 1}, "does not lie before its end"),
    "a comment": ({"comment": 5}, "does not lie before its end"),
    "several disks": ({"disk": 1}, "does not lie before its end"),
}


@pytest.mark.parametrize(("changes", "says"), ENDS.values(), ids=ENDS.keys())
def test_an_end_of_an_archive_that_lies_is_refused(inspect, archive, pickle, changes, says):
    with pytest.raises(PickleMalformed, match=says):
        inspect(change_end(good(archive, pickle), **changes))


def test_something_behind_the_archive_is_refused(inspect, archive, pickle):
    with pytest.raises(PickleMalformed, match="does not end as"):
        inspect(good(archive, pickle) + b"\0")


def test_a_directory_of_many_megabytes_is_refused(inspect):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for number in range(70):
            opened.writestr(zipfile.ZipInfo(f"{number}/" + "x" * 65_000), b"")
    with pytest.raises(PickleMalformed, match="directory has 45"):
        inspect(made.getvalue())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_file_that_was_cut_is_refused(inspect, legacy):
    content = saved({"a": torch.zeros(40), "b": torch.ones(3)}, _use_new_zipfile_serialization=not legacy)
    for length in range(0, len(content), 3):
        with pytest.raises(PickleMalformed):
            inspect(content[:length])


OLD = {
    "a pickle that is no file of torch": ([{"a": 1}], "not one that torch.save wrote"),
    "an unknown version": ([MAGIC, 7, {"little_endian": True}, {}, []], "unknown PyTorch"),
    "keys that are no list": ([MAGIC, 1001, {"little_endian": True}, {"a": 1}, 5], "no list"),
    "a key of no storage": ([MAGIC, 1001, {"little_endian": True}, {"a": 1}, ["0"]], "no tensor has"),
}


@pytest.mark.parametrize(("parts", "says"), OLD.values(), ids=OLD.keys())
def test_an_old_file_that_lies_is_refused(inspect, parts, says):
    with pytest.raises(PickleMalformed, match=says):
        inspect(b"".join(pickling.dumps(part, 2) for part in parts))


def test_storages_of_an_old_file_may_not_reach_behind_its_end(inspect):
    content = saved({"a": torch.zeros(4)}, _use_new_zipfile_serialization=False)
    for count in (5, 2**62, -1):
        with pytest.raises(PickleMalformed, match="beyond the end"):
            inspect(content[:-24] + struct.pack("<q", count) + content[-16:])


def test_deep_values_do_not_end_the_process(tmp_path, archive, pickle):
    """In a process of its own: what is feared is not an exception."""
    for name in ("tuples in tuples", "a tuple in tuples as a key"):
        (tmp_path / "model.pt").write_bytes(archive(BOMBS[name](pickle), {"0": bytes(16)}))
        code = (
            "from pathlib import Path; from sd_modelfiles import pickles; pickles.inspect(Path('model.pt'))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 1
        assert "PickleMalformed" in done.stderr
