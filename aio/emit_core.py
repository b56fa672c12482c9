"""Write the C of the extension module fuaio.aio._core, at build time.

Usage: emit_core.py CDEF SOURCE OUTPUT

CDEF declares what Python may call, SOURCE is the C that comes before it.
``cffi-gen-src`` does the same, but comes with cffi 2.1 only.
"""

import sys
from pathlib import Path

from cffi import FFI


def main() -> None:
    """Read the cdef and the C source, write the module's C."""
    cdef, source, output = map(Path, sys.argv[1:])
    ffi = FFI()
    ffi.cdef(cdef.read_text(encoding="utf-8"))
    ffi.set_source("fuaio.aio._core", source.read_text(encoding="utf-8"))
    ffi.emit_c_code(str(output))


if __name__ == "__main__":
    main()
