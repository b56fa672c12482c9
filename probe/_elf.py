"""Just enough of ELF to ask a shared object its soname, what it needs, and what it defines.

What fuaio supports is 64-bit and little-endian, so nothing else is read. Source: elf(5), and
the Linux Standard Base for the version definitions.
"""

from __future__ import annotations

import struct
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME = 0, 1, 5, 14
_DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFFC, 0x6FFFFFFD


class SharedObject(NamedTuple):
    """What a shared object says about itself.

    Attributes:
        soname: The name that others need it by; empty where it has none.
        versions: The symbol versions it defines.
        needed: The sonames of the shared objects it is linked with.
    """

    soname: str
    versions: tuple[str, ...]
    needed: tuple[str, ...]


def read_shared_object(path: Path) -> SharedObject:
    """Read the shared object *path*.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a 64-bit little-endian ELF file with a dynamic section.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    try:
        return _read(data)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"damaged ELF file: {error}") from None


def _read(data: bytes) -> SharedObject:
    loads, entries = _segments(data)
    dynamic = dict(entries)
    strings = _offset(loads, dynamic[_DT_STRTAB]) if _DT_STRTAB in dynamic else None
    if strings is None:
        raise ValueError("no dynamic strings")
    soname = _text(data, strings + dynamic[_DT_SONAME]) if _DT_SONAME in dynamic else ""
    needed = [_text(data, strings + value) for tag, value in entries if tag == _DT_NEEDED]
    names: list[str] = []
    if _DT_VERDEF in dynamic:
        at = _offset(loads, dynamic[_DT_VERDEF])
        names = _definitions(data, at, dynamic.get(_DT_VERDEFNUM, 0), strings)
    return SharedObject(soname, tuple(names), tuple(needed))


def _segments(data: bytes) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Return the loaded segments (address, offset, size) and the entries of the dynamic one."""
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loads: list[tuple[int, int, int]] = []
    entries: list[tuple[int, int]] = []
    for index in range(count):
        header = struct.unpack_from("<IIQQQQ", data, table + index * size)
        kind, _, offset, address, _, length = header
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_DYNAMIC:
            pairs = struct.iter_unpack("<QQ", data[offset : offset + length])
            entries = list(takewhile(lambda pair: pair[0] != _DT_NULL, pairs))
    return loads, entries


def _offset(loads: list[tuple[int, int, int]], address: int) -> int:
    for start, offset, length in loads:
        if start <= address < start + length:
            return address - start + offset
    raise ValueError(f"address {address:#x} is in no segment")


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at)
    if end < 0:
        raise ValueError("a name has no end")
    return data[at:end].decode("utf-8", "replace")


def _definitions(data: bytes, at: int, count: int, strings: int) -> list[str]:
    """Return the names of *count* version definitions; the first is usually the soname."""
    names: list[str] = []
    for _ in range(count):
        aux, following = struct.unpack_from("<II", data, at + 12)
        (name,) = struct.unpack_from("<I", data, at + aux)
        names.append(_text(data, strings + name))
        if following == 0:
            break
        at += following
    return names
