"""A process that is refused something, and what it sees of that. Run by real_refusals.py.

Usage: real_refused_child.py PATH DEPTH STEP...      prints what it saw as JSON
       real_refused_child.py exec STEP... -- COMMAND...

It writes block 0 of PATH with O_DIRECT and block 1 without. A step that the machine does not let
it take ends it with status 77 and the reason.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import struct
import sys
from collections.abc import Callable

from memory_file import memory_file

# All that is needed is loaded before the steps: another user may not be able to read it.
import fuaio.probe._kernel as kernel_section
import fuaio.probe._policy as policy_section
from fuaio.aio import EngineUnavailableError, File, aligned_buffer, available, open_file
from fuaio.probe import ENGINES, encode_report, gather

BLOCK = 4096
CANNOT = 77

# Linux uapi/linux/audit.h; and the numbers of the calls.
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "io_uring_setup": {"x86_64": 425, "aarch64": 425},
    "io_setup": {"x86_64": 206, "aarch64": 0},
    "io_submit": {"x86_64": 209, "aarch64": 2},
    "io_getevents": {"x86_64": 208, "aarch64": 4},
    "io_pgetevents": {"x86_64": 333, "aarch64": 292},
    "io_uring_enter": {"x86_64": 426, "aarch64": 426},
    "memfd_create": {"x86_64": 319, "aarch64": 279},
}
# What Debian's libaio enters in place of the first since trixie.
SAME = {"io_getevents": ("io_getevents", "io_pgetevents")}
MACHINE = os.uname().machine
LOADED = (kernel_section, policy_section)
libc = ctypes.CDLL(None, use_errno=True)
held: list[File] = []


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def filter_program(numbers: list[int], code: int) -> bytes:
    """Return BPF that fails these system calls with errno *code* and allows all others."""
    load, if_equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    number_at, architecture_at = 0, 4  # in struct seccomp_data
    allow, fail = 0x7FFF0000, 0x00050000 | code
    count = len(numbers)
    instructions = [
        (load, 0, 0, architecture_at),
        (if_equal, 0, count + 1, ARCHITECTURE[MACHINE]),  # foreign calls: to allow
        (load, 0, 0, number_at),
        *((if_equal, count - place, 0, number) for place, number in enumerate(numbers)),
        (answer, 0, 0, allow),
        (answer, 0, 0, fail),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


class FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def refuse(calls: str, code: str) -> None:
    """A seccomp filter fails *calls*, separated by commas, with the errno named *code*."""
    if MACHINE not in ARCHITECTURE:
        raise OSError(errno.ENOTSUP, f"no numbers of system calls for {MACHINE}")
    names = [name for call in calls.split(",") for name in SAME.get(call, (call,))]
    numbers = [NUMBERS[name][MACHINE] for name in names]
    code_bytes = filter_program(numbers, getattr(errno, code))
    program = FilterProgram(len(code_bytes) // 8, code_bytes)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2  # uapi/linux/prctl.h, seccomp.h
    checked(libc.prctl(no_new_privileges, 1, 0, 0, 0))
    checked(libc.prctl(set_seccomp, filter_mode, ctypes.byref(program), 0, 0))


def become(user: str) -> None:
    """Go on as the user of this number, without a capability, in the group of the same number."""
    number = int(user)
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)


def memlock(limit: str) -> None:
    """RLIMIT_MEMLOCK in bytes."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (int(limit), int(limit)))


def ask() -> None:
    """Let fuaio ask what it asks once in a process, on a ring that goes again."""
    available()


def hold_rings() -> None:
    """Open files on rings until the kernel gives no more."""
    in_memory = memory_file()
    while True:
        try:
            held.append(open_file(in_memory, "r+", engine="io_uring", depth=1))
        except EngineUnavailableError:
            break


def hold_contexts() -> None:
    """Take every AIO context that is left; they go with the process."""
    context = ctypes.c_ulong(0)
    number = NUMBERS["io_setup"][MACHINE]
    while libc.syscall(number, 1, ctypes.byref(context)) == 0:
        context.value = 0
    if ctypes.get_errno() != errno.EAGAIN:
        checked(-1)


STEPS: dict[str, Callable[..., None]] = {
    "refuse": refuse,
    "become": become,
    "ask": ask,
    "memlock": memlock,
    "hold-rings": hold_rings,
    "hold-contexts": hold_contexts,
}


def take(steps: list[str]) -> None:
    for step in steps:
        name, *arguments = step.split(":")
        try:
            STEPS[name](*arguments)
        except OSError as error:
            print(f"{step}: {error}", file=sys.stderr)
            sys.exit(CANNOT)


def refusals(descriptor: int, depth: int) -> dict[str, tuple[str, int | None, str]]:
    """Ask for each engine by name; tell cause, errno and message of those that are refused."""
    found = {}
    for engine in ENGINES:
        try:
            open_file(descriptor, "r+", engine=engine, direct=True, depth=depth).close()
        except EngineUnavailableError as error:
            found[engine] = (error.cause, error.errno, str(error))
    return found


def write(descriptor: int, offset: int, *, direct: bool, depth: int) -> tuple[str, str]:
    """Write a block durably on whatever engine suits; tell engine and way."""
    data = aligned_buffer(BLOCK)
    data[:] = b"w" * BLOCK
    with open_file(descriptor, "r+", direct=direct, depth=depth) as file:
        assert file.pwrite(data, offset, fua=True) == BLOCK
        return file.engine, str(file.can_fua)


def main() -> None:
    first, *rest = sys.argv[1:]
    if first == "exec":
        end = rest.index("--")
        take(rest[:end])
        os.execv(rest[end + 1], rest[end + 1 :])
    depth = int(rest[0])
    # Opened before, since the other user may not reach it.
    direct = os.open(first, os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
    buffered = os.open(first, os.O_RDWR | os.O_CLOEXEC)
    take(rest[1:])
    works, why_not = available()
    seen = {
        "works": works,
        "why_not": why_not,
        "refused": refusals(direct, depth),
        "direct": write(direct, 0, direct=True, depth=depth),
        "buffered": write(buffered, BLOCK, direct=False, depth=depth),
        "report": encode_report(gather(["kernel", "policy"])).decode(),
        "held": len(held),
    }
    print(json.dumps(seen))
    for file in held:
        file.close()


if __name__ == "__main__":
    main()
