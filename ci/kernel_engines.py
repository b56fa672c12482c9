"""Print the engines that this kernel gives to this process, asked without fuaio.

ci/test requires them of fuaio, so that a fault in fuaio's own question cannot hide an engine.
"""

from __future__ import annotations

import ctypes
import os
import platform

# io_uring_setup has one number everywhere; io_setup is older than that custom.
IO_URING_SETUP = 425
IO_SETUP = {"x86_64": 206, "ppc64le": 227, "s390x": 243}
IO_SETUP_GENERIC = 0  # aarch64, riscv64, loongarch64
IO_URING_PARAMS_BYTES = 120

libc = ctypes.CDLL(None, use_errno=True)


def gives_io_uring() -> bool:
    """Whether a ring can be made."""
    params = ctypes.create_string_buffer(IO_URING_PARAMS_BYTES)
    descriptor = libc.syscall(IO_URING_SETUP, 2, params)
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def gives_linux_aio() -> bool:
    """Whether an AIO context can be made; it goes with this process."""
    number = IO_SETUP.get(platform.machine(), IO_SETUP_GENERIC)
    context = ctypes.c_ulong(0)
    return bool(libc.syscall(number, 2, ctypes.byref(context)) == 0)


def main() -> None:
    """Print names, separated by spaces."""
    engines = ["threads"]
    if gives_linux_aio():
        engines.insert(0, "linux_aio")
    if gives_io_uring():
        engines.insert(0, "io_uring")
    print(*engines)


if __name__ == "__main__":
    main()
