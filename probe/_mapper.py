"""Which targets a mapping of device mapper has: root may ask, and a uuid says who made it.

Facts: DM_TABLE_STATUS gives the name of each target (linux/dm-ioctl.h); without the flag for the
table it tells no key of an encrypted one. Programs begin a mapping's uuid with their name:
cryptsetup ``CRYPT-`` and the format, LVM ``LVM-`` and 64 letters and digits, behind which a part
of something larger has a dash and a word more; multipath ``mpath-``. A mapping that was made by
hand has no uuid.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct

# struct dm_ioctl, struct dm_target_spec: linux/dm-ioctl.h.
_HEAD = struct.Struct("=3I7IQ128s129s7x")
_TARGET = struct.Struct("=QQiI16s")
_TABLE_STATUS = 0xC138FD0C
_BUFFER_FULL, _NO_FLUSH = 1 << 8, 1 << 11
_ROOM = 1 << 16

_BY_UUID = (
    (r"CRYPT-(PLAIN|LUKS\d|BITLK|TCRYPT|LOOPAES|FVAULT2)-.*", "crypt"),
    (r"(part\d+-)?mpath-.*", "multipath"),
    (r"LVM-[A-Za-z0-9]{64}", "linear"),  # or what its members show: see _block.py
)


def targets_of(number: str) -> tuple[str, ...]:
    """Return the targets' names of the mapping MAJOR:MINOR; empty where that is not to be had."""
    try:
        control = os.open("/dev/mapper/control", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        major, minor = map(int, number.split(":"))
        answer = bytearray(_ROOM)
        device = os.makedev(major, minor)
        _HEAD.pack_into(
            answer, 0, 4, 0, 0, _ROOM, _HEAD.size, 0, 0, _NO_FLUSH, 0, 0, device, b"", b""
        )
        fcntl.ioctl(control, _TABLE_STATUS, answer)
    except (OSError, ValueError):
        return ()
    finally:
        os.close(control)
    return _parse(bytes(answer))


def _parse(answer: bytes) -> tuple[str, ...]:
    _, _, _, _, start, count, _, flags, *_ = _HEAD.unpack_from(answer)
    if flags & _BUFFER_FULL:
        return ()
    names, at = [], start
    for _ in range(count):
        *_, following, name = _TARGET.unpack_from(answer, at)
        names.append(name.split(b"\0")[0].decode("ascii", "replace"))
        at = start + following
    return tuple(names)


def target_by_uuid(uuid: str) -> tuple[str, ...]:
    """Return what the program that made a mapping makes; empty where its uuid does not say."""
    for pattern, name in _BY_UUID:
        if re.fullmatch(pattern, uuid):
            return (name,)
    return ()
