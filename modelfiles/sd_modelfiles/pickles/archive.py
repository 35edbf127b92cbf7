"""The members of a zip archive as PyTorch writes it: each in its own place, weights without compression.

Read strictly, because two readers of a lenient one can see two different files: names may not repeat, what
the directory says of a member must be what stands before its bytes, and nothing may overlap. So an archive
also cannot hold more bytes than it has. Knows nothing of pickles.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sd_modelfiles.pickles.errors import PickleMalformed

# A checkpoint of SDXL with smoothed weights and a trainer's state has 16,000 members and 1.5 MB of directory.
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
MAX_MEMBERS = 20_000

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
# What the narrow fields hold when the wide ones count.
_NONE = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
_ENCRYPTED = 1
_ZIP64_EXTRA = 1


@dataclass(frozen=True, slots=True)
class Member:
    begin: int  # of its bytes in the file
    size: int  # of its bytes in the file
    is_stored: bool  # as it is; else compressed or encrypted


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as the directory tells it."""

    name: str
    header_at: int
    size: int
    flags: int
    method: int


def members(file: BinaryIO, size: int) -> dict[str, Member]:
    """Every member by its name; raises PickleMalformed."""
    begin, length, count = _directory(file, size)
    file.seek(begin)
    directory = file.read(length)
    found: dict[str, Member] = {}
    places: list[tuple[int, int]] = []
    for entry in _entries(directory, count):
        if entry.name in found:
            raise PickleMalformed(f"the archive holds {entry.name[:200]!r} twice")
        member = _located(file, entry) if entry.header_at < begin else None
        if member is None:
            raise PickleMalformed(f"{entry.name[:200]!r} is not where the archive's directory says")
        found[entry.name] = member
        places.append((entry.header_at, member.begin + member.size))
    _check_apart(sorted(places), begin)
    return {name: member for name, member in found.items() if not name.endswith("/")}


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Where the directory of members begins, its length and how many it lists."""
    tail_begin = max(0, size - _END.size)
    tail = _read(file, tail_begin, size - tail_begin)
    # A comment may follow by the format; PyTorch writes none, and one can hide another archive's end.
    if len(tail) != _END.size or not tail.startswith(b"PK\x05\x06"):
        raise PickleMalformed("the archive does not end as a zip archive without a comment does")
    _, disk, _, _, count, length, begin, comment = _END.unpack(tail)
    end = tail_begin
    locator = _read(file, end - _LOCATOR64.size, _LOCATOR64.size) if end >= _LOCATOR64.size else b""
    if locator.startswith(b"PK\x06\x07"):
        _, _, end, _ = _LOCATOR64.unpack(locator)
        record = _read(file, end, _END64.size) if end < tail_begin else b""
        if len(record) != _END64.size or not record.startswith(b"PK\x06\x06"):
            raise PickleMalformed("the end of the archive's directory is not where it should be")
        narrow = (count, length, begin)
        count, length, begin = wide = _END64.unpack(record)[7:10]
        if any(short not in (long, most) for short, long, most in zip(narrow, wide, _NONE, strict=True)):
            raise PickleMalformed("the archive's directory lies in two places")
    if disk or comment or begin + length != end:
        raise PickleMalformed("the archive's directory does not lie before its end")
    if length > MAX_DIRECTORY_BYTES:
        raise PickleMalformed(f"the archive's directory has {length} bytes; at most {MAX_DIRECTORY_BYTES}")
    if count > MAX_MEMBERS:
        raise PickleMalformed(f"the archive has {count} members; at most {MAX_MEMBERS}")
    return begin, length, count


def _entries(directory: bytes, count: int) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            raise PickleMalformed("the archive's directory is shorter than it says")
        fields = _CENTRAL.unpack_from(directory, at)
        signature, flags, method = fields[0], fields[3], fields[4]
        packed, unpacked, name_length, extra_length, comment_length = fields[8:13]
        header_at = fields[16]
        at += _CENTRAL.size
        raw_name = directory[at : at + name_length]
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if signature != b"PK\x01\x02" or at > len(directory):
            raise PickleMalformed("the archive's directory is damaged")
        unpacked, packed, header_at = _whole_numbers(extra, unpacked, packed, header_at)
        name = _checked_name(raw_name)
        if method == 0 and packed != unpacked:
            raise PickleMalformed(f"{name[:200]!r} has two sizes")
        yield _Entry(name, header_at, packed, flags, method)
    if at != len(directory):
        raise PickleMalformed("the archive's directory is longer than it says")


def _whole_numbers(extra: bytes, *numbers: int) -> tuple[int, ...]:
    """The numbers that 32 bits hold, or else those of 64 bits, which stand in the same order behind."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64_EXTRA:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    found = []
    for number in numbers:
        if number == 0xFFFFFFFF:
            if len(wide) < 8:
                raise PickleMalformed("the archive's directory lacks a size or a place")
            number, wide = struct.unpack_from("<Q", wide)[0], wide[8:]
        found.append(number)
    return tuple(found)


def _checked_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PickleMalformed("the name of a member is not UTF-8") from error
    parts = name.removesuffix("/").split("/")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise PickleMalformed(f"{name[:200]!r} is no name of a member that PyTorch writes")
    return name


def _located(file: BinaryIO, entry: _Entry) -> Member | None:
    """The member, when the header before its bytes says the same as the directory."""
    header = _read(file, entry.header_at, _LOCAL.size)
    if len(header) != _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        return None
    fields = _LOCAL.unpack(header)
    flags, method, name_length, extra_length = fields[2], fields[3], fields[9], fields[10]
    name = _read(file, entry.header_at + _LOCAL.size, name_length)
    if name != entry.name.encode("utf-8") or (flags, method) != (entry.flags, entry.method):
        raise PickleMalformed(f"{entry.name[:200]!r} is something else where it stands than in the directory")
    begin = entry.header_at + _LOCAL.size + name_length + extra_length
    return Member(begin, entry.size, method == 0 and not flags & _ENCRYPTED)


def _check_apart(places: list[tuple[int, int]], directory: int) -> None:
    position = 0
    for begin, end in places:
        if begin < position:
            raise PickleMalformed("members of the archive overlap")
        position = end
    if position > directory:
        raise PickleMalformed("members of the archive reach into its directory")


def _read(file: BinaryIO, begin: int, count: int) -> bytes:
    file.seek(begin)
    return file.read(count)
