"""Reads the log of dm-log-writes: what a device would hold, had the power gone at a mark.

Facts: the log has a block for each entry, a header and behind it the data of a write, or in the
block itself the text of a mark. A write stands there where it was done and a flush came behind it,
or where it had FUA; what was neither is not in the log before the next flush (Linux
Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c). So the entries
up to a mark are what is left if all that was volatile at that moment is lost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAGIC, VERSION = 0x6A736677736872, 1
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8


class LogError(Exception):
    """The log cannot be read; the message says what was found."""


class Entry(NamedTuple):
    """One entry of the log.

    Attributes:
        mark: The text of a mark; of a write None.
        offset: Where it was written, in bytes.
        length: How many bytes were.
        data: What was written; of a discard nothing.
        is_fua: It was written with FUA.
        is_flush: A flush came with it.
    """

    mark: str | None
    offset: int
    length: int
    data: bytes
    is_fua: bool
    is_flush: bool


def read_log(file: BinaryIO) -> Iterator[Entry]:
    """Give the entries of the log that begins where *file* is.

    Raises:
        LogError: It is none, or ends in the middle.
    """
    magic, version, count, block_bytes = _SUPER.unpack(_exactly(file, _SUPER.size))
    if (magic, version) != (MAGIC, VERSION):
        raise LogError(f"no log of dm-log-writes: {magic:#x}, version {version}")
    at = file.tell() - _SUPER.size + block_bytes
    for _ in range(count):
        file.seek(at)
        header = _exactly(file, block_bytes)
        sector, length, flags, text_bytes = _ENTRY.unpack_from(header)
        at += block_bytes
        if flags & _MARK:
            text = header[_ENTRY.size : _ENTRY.size + text_bytes]
            yield Entry(text.decode("ascii", "replace").rstrip("\0"), 0, 0, b"", False, False)
            continue
        length_bytes = length * block_bytes
        data = b"" if flags & _DISCARD else _exactly(file, length_bytes)
        at += len(data)
        offset, is_fua, is_flush = sector * block_bytes, bool(flags & _FUA), bool(flags & _FLUSH)
        yield Entry(None, offset, length_bytes, data, is_fua, is_flush)


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise LogError(f"the log ends in the middle of an entry: {len(data)} of {length} bytes")
    return data
