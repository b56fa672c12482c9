"""A size as an option takes it: bytes, or a number of KiB, MiB, GiB."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    Type = click.ParamType[int]
else:
    Type = click.ParamType  # generic since click 8.4

BLOCK_BYTES = 4096
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(Type):
    """Whole blocks of 4096 bytes: ``64M``, ``1G``, ``65536``."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the size in bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]+)([KMGT]?)(i?B)?", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is no size; write 64M or 1G, or a number of bytes", param, ctx)
        size = int(match[1]) * _UNITS[match[2].upper()]
        if size < BLOCK_BYTES or size % BLOCK_BYTES or size >= 1 << 63:
            self.fail(
                f"{value} are {size} bytes; a size is a multiple of {BLOCK_BYTES}, at least that, "
                "and below 2**63",
                param,
                ctx,
            )
        return size
