"""Which engines there are, which work here, and why the others do not.

Facts: a kernel says no with an errno that means several things. io_uring_setup answers
EPERM for the sysctl, for seccomp and for other policies; ENOSYS for seccomp and for a kernel
without it. io_setup answers EAGAIN when the whole system's contexts are used up.

What this means here: an errno alone never becomes a cause. The sysctl and the process's own
seccomp state are read too, and where they do not explain it the cause is ``policy``.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fuaio.aio._core import ffi, lib

if TYPE_CHECKING:
    from fuaio.aio._core import CData

__all__ = [
    "ENGINES",
    "Available",
    "Refusal",
    "available",
    "is_native",
    "laio_has_fua",
    "luring_has_fua",
    "new_queue",
    "operations",
    "pool_refusal",
    "refusal",
]

ENGINES = ("io_uring", "linux_aio", "threads")
"""Engine names, best first where each of them can ask for FUA."""

_NUMBERS = {
    "linux_aio": lib.FUAIO_LINUX_AIO,
    "io_uring": lib.FUAIO_IO_URING,
    "threads": lib.FUAIO_THREADS,
}
_CALLS = {
    "linux_aio": "io_submit or io_getevents",
    "io_uring": "io_uring_enter",
    "threads": "pwritev",
}
_LIBRARIES = {"linux_aio": "libaio", "io_uring": "liburing"}


class Available(NamedTuple):
    """The engines that work here, best first, and for each other one a sentence why not."""

    engines: tuple[str, ...]
    why_not: dict[str, str]


class Refusal(NamedTuple):
    """Why an engine cannot be had: errno (0: not asked), a cause in one word, a sentence."""

    errno: int
    cause: str
    message: str


def laio_has_fua() -> bool:
    """Whether the build found ``io_prep_pwritev2`` in libaio.h: Linux AIO can ask for FUA.

    False also where libaio is not built in. It says nothing of the kernel or a device.
    """
    return bool(lib.laio_has_fua())


def luring_has_fua() -> bool:
    """Whether the build found ``io_uring_prep_writev2`` in liburing.h: io_uring can ask for FUA.

    False also where liburing is not built in. It says nothing of the kernel or a device.
    """
    return bool(lib.luring_has_fua())


def operations(engine: str) -> CData:
    """Return the C table of *engine*'s functions."""
    table: CData = lib.fuaio_engines[_NUMBERS[engine]]
    return table


def is_native(engine: str) -> bool:
    """Whether *engine* asks for FUA in one request: helper built in, flag taken by the kernel."""
    has_fua = {"linux_aio": laio_has_fua, "io_uring": luring_has_fua}
    if engine in has_fua and not has_fua[engine]():
        return False
    return bool(lib.fuaio_engine_takes_dsync(operations(engine)))


def available() -> Available:
    """Try every engine and say which work in this process, here and now.

    Each is opened and closed again; nothing is written. Engines that can ask for FUA stand
    before those that emulate it.
    """
    why_not = {}
    for engine in ENGINES:
        queue = new_queue(engine, fd=-1, depth=1)
        if isinstance(queue, Refusal):
            why_not[engine] = queue.message
        else:
            lib.fuaio_queue_close(queue[0], 0)
    works = [engine for engine in ENGINES if engine not in why_not]
    return Available(tuple(sorted(works, key=lambda engine: not is_native(engine))), why_not)


def new_queue(
    engine: str,
    *,
    fd: int,
    depth: int,
    facts: CData | None = None,
    event_fd: int = -1,
    pool: CData | None = None,
    two_requests: bool = False,
) -> CData | Refusal:
    """Open a C queue of *engine* on *fd* and return its holder, or the `Refusal`.

    With *event_fd* it is for an event loop: used by this thread alone, which never waits in it.
    *pool* is exported memory, which must stay so until the queue is closed.
    With *two_requests* a durable write is a write, then a flush, also where the engine has FUA:
    for the benchmark.

    ``holder[0]`` is the queue. With the last reference to the holder its engine is closed, if it
    was not before, and its memory freed; *fd* stays the caller's until the queue is closed.
    """
    if facts is not None and engine == "threads" and facts.block_device:
        # A synchronous RWF_DSYNC write to a raw device flushes after the FUA write as well.
        two_requests = two_requests or _has_volatile_cache(fd)
    elif facts is not None and engine != "threads":
        two_requests = two_requests or facts.flag_in_doubt
    options = ffi.new(
        "struct fuaio_queue_options *",
        {
            "ops": operations(engine),
            "one_thread": event_fd >= 0,
            "has_event_fd": event_fd >= 0,
            "event_fd": event_fd,
            "fd": fd,
            "depth": depth,
            "memory_align": facts.memory_align if facts else 1,
            "offset_align": facts.offset_align if facts else 1,
            "page_cache": facts.page_cache if facts else True,
            "writes_told": facts.writes_told if facts else False,
            "two_requests": two_requests,
            "pool": ffi.NULL if pool is None else pool,
            "pool_length": 0 if pool is None else len(pool),
        },
    )
    # Before it is opened, so that a signal can come between no two steps.
    holder: CData = ffi.gc(ffi.new("struct fuaio_queue **"), lib.fuaio_queue_free_held)
    rc = lib.fuaio_queue_open(holder, options)
    if rc < 0:
        return refusal(engine, -rc, depth)
    code = _first_request(engine)
    return refusal(engine, code, depth, call=_CALLS[engine]) if code else holder


def _has_volatile_cache(fd: int) -> bool:
    """Return whether a flush of this block device is work, by the kernel; True if it says nothing.

    Source:
        Documentation/ABI/stable/sysfs-block, queue/write_cache.
    """
    device = os.fstat(fd).st_rdev
    folder = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    for queue in ("queue", "../queue"):  # a partition's is that of its disk
        with suppress(OSError):
            return Path(folder, queue, "write_cache").read_text() != "write through\n"
    return True


_works: set[str] = set()


def _first_request(engine: str) -> int:
    """Ask once in a process for a request: a policy may allow the set-up and refuse that."""
    if engine in _works:
        return 0
    code = -lib.fuaio_engine_ask(operations(engine), 0)
    if code in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return int(code)
    if code == 0:
        _works.add(engine)
    return 0  # any other answer is no refusal: a limit just reached, no memfd to ask with


def refusal(engine: str, code: int, depth: int, call: str = "") -> Refusal:
    """Explain why *engine* was refused for *depth* requests with errno *code*.

    With *call* the set-up was allowed, and that call refused.
    """
    if code == errno.ENOPKG:
        library = _LIBRARIES[engine]
        return Refusal(
            0,
            "not-built",
            f"fuaio was built without {library}; build it again with -D{library}=enabled",
        )
    if call:
        return Refusal(code, "policy", f"{call}: {_name(code)}: {_policy('the set-up is allowed')}")
    if code in (errno.EMFILE, errno.ENFILE):
        return _say(
            engine, code, "limit", "no descriptor is left; close some or raise RLIMIT_NOFILE"
        )
    if code in (errno.EINVAL, errno.EOVERFLOW):
        return _say(
            engine, code, "limit", f"depth {depth} is more than this kernel gives; ask for less"
        )
    if engine == "io_uring":
        return _io_uring_refusal(code)
    return _linux_aio_refusal(code, depth)


def _io_uring_refusal(code: int) -> Refusal:
    disabled, group = _number("kernel/io_uring_disabled"), _number("kernel/io_uring_group")
    if code == errno.EPERM and _is_refused_by_sysctl(disabled, group):
        return _say(
            "io_uring",
            code,
            "sysctl",
            f"kernel.io_uring_disabled is {disabled} (io_uring_group {group}); "
            "set it to 0, or to 1 and join that group",
        )
    if code == errno.ENOMEM:
        return _say(
            "io_uring",
            code,
            "limit",
            "no memory for a ring: rings are charged to RLIMIT_MEMLOCK per user; raise it, close "
            "files or ask for less depth",
        )
    if code == errno.ENOSYS and not _has_seccomp_filter():
        return _say(
            "io_uring", code, "kernel", "this kernel has no io_uring; it is there since Linux 5.1"
        )
    if code in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return _say("io_uring", code, "policy", _policy("kernel.io_uring_disabled does not"))
    return _say("io_uring", code, "kernel", "the kernel refused a ring")


def pool_refusal(code: int) -> str:
    """Explain why io_uring did not register a pool, with errno *code*."""
    why = "the kernel refused it"
    if code == errno.ENOMEM:
        why = "it exceeds RLIMIT_MEMLOCK, which counts a pool for each file; raise it"
    elif code == errno.EFAULT:
        why = "io_uring registers at most 1 GiB"
    return f"io_uring_register: {_name(code)}: {why}"


def _linux_aio_refusal(code: int, depth: int) -> Refusal:
    if code == errno.EAGAIN:
        used, most = _number("fs/aio-nr"), _number("fs/aio-max-nr")
        return _say(
            "linux_aio",
            code,
            "limit",
            f"depth {depth} exceeds what is left of fs.aio-max-nr ({most} - {used} in use); "
            "lower the depth or raise the sysctl",
        )
    if code == errno.ENOMEM:
        return _say("linux_aio", code, "limit", "no memory for a context; ask for less depth")
    if code == errno.ENOSYS and not _has_seccomp_filter():
        return _say("linux_aio", code, "kernel", "this kernel was built without CONFIG_AIO")
    if code in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return _say("linux_aio", code, "policy", _policy("no sysctl does"))
    return _say("linux_aio", code, "kernel", "the kernel refused a context")


def _say(engine: str, code: int, cause: str, why: str) -> Refusal:
    call = {"io_uring": "io_uring_setup", "linux_aio": "io_setup"}.get(engine, engine)
    return Refusal(code, cause, f"{call}: {_name(code)}: {why}")


def _name(code: int) -> str:
    return errno.errorcode.get(code, str(code))


def _policy(but: str) -> str:
    seccomp = (
        "a seccomp filter is active" if _has_seccomp_filter() else "no seccomp filter is visible"
    )
    return (
        f"a policy refuses it: {but}, and {seccomp} here; "
        "look at the container's profile or security module"
    )


def _is_refused_by_sysctl(disabled: int | None, group: int | None) -> bool:
    if disabled == 1:
        in_group = group is not None and group in {os.getegid(), *os.getgroups()}
        return not in_group and not _has_capability(_CAP_SYS_ADMIN)
    return disabled == 2


_CAP_SYS_ADMIN = 21


def _has_capability(number: int) -> bool:
    return bool(int(_status("CapEff") or "0", 16) >> number & 1)


def _has_seccomp_filter() -> bool:
    return _status("Seccomp") == "2"


# UTF-8 is in every interpreter from its start: the codec of ASCII would be loaded when an engine is
# refused, which a process that gave up its rights or changed its root may not be able to.


def _status(key: str) -> str | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.split()[1] for line in lines if line.startswith(f"{key}:")), None)


def _number(sysctl: str) -> int | None:
    try:
        return int(Path("/proc/sys", sysctl).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
