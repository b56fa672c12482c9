"""The policy section: what the administrator and the container allow this process."""

from __future__ import annotations

from pathlib import Path

from fuaio.probe._known import make_fact
from fuaio.probe._proc import read_text
from fuaio.probe._record import Fact

_DISABLED = {
    0: "every process may make a ring",
    1: "only the group of io_uring_group and CAP_SYS_ADMIN may make a ring",
    2: "no process may make a ring",
}
_SECCOMP = {"0": "disabled", "1": "strict", "2": "filter"}


def read_policy(root: Path) -> list[Fact]:
    """Return the facts of the policy section as /proc below *root* tells them."""
    return [
        _sysctl(root, "io_uring_disabled", "/proc/sys/kernel/io_uring_disabled"),
        _sysctl(root, "io_uring_group", "/proc/sys/kernel/io_uring_group"),
        _seccomp(root),
        _seccomp_filters(root),
        _sysctl(root, "aio_nr", "/proc/sys/fs/aio-nr"),
        _sysctl(root, "aio_max_nr", "/proc/sys/fs/aio-max-nr"),
        _memlock(root),
    ]


def _unknown(name: str, source: str, reason: str, detail: str) -> Fact:
    return make_fact(("policy", name), "unknown", reason, source=source, detail=detail)


def _sysctl(root: Path, name: str, path: str) -> Fact:
    reading = read_text(root, path)
    if reading.text is None:
        return _unknown(name, path, reading.reason, reading.detail)
    try:
        value = int(reading.text)
    except ValueError:
        return _unknown(name, path, "malformed", f"{reading.text[:40]!r} is no number")
    detail = _DISABLED.get(value, "") if name == "io_uring_disabled" else ""
    return make_fact(("policy", name), "yes", "ok", value=value, source=path, detail=detail)


def _status(root: Path, name: str, field: str) -> str | Fact:
    """Return the text of a field of /proc/self/status, or the fact that says why not."""
    path = "/proc/self/status"
    reading = read_text(root, path)
    if reading.text is None:
        return _unknown(name, path, reading.reason, reading.detail)
    for line in reading.text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key == field:
            return value.strip()
    return _unknown(name, path, "not-there", f"there is no line {field}:")


def _seccomp(root: Path) -> Fact:
    mode = _status(root, "seccomp", "Seccomp")
    if isinstance(mode, Fact):
        return mode
    source = "/proc/self/status"
    if mode not in _SECCOMP:
        return _unknown("seccomp", source, "malformed", f"{mode[:40]!r} is no known mode")
    return make_fact(("policy", "seccomp"), "yes", "ok", value=_SECCOMP[mode], source=source)


def _seccomp_filters(root: Path) -> Fact:
    count = _status(root, "seccomp_filters", "Seccomp_filters")
    if isinstance(count, Fact):
        return count
    source = "/proc/self/status"
    try:
        value = int(count)
    except ValueError:
        return _unknown("seccomp_filters", source, "malformed", f"{count[:40]!r} is no number")
    return make_fact(("policy", "seccomp_filters"), "yes", "ok", value=value, source=source)


def _memlock(root: Path) -> Fact:
    path = "/proc/self/limits"
    reading = read_text(root, path)
    if reading.text is None:
        return _unknown("memlock", path, reading.reason, reading.detail)
    for line in reading.text.splitlines():
        if line.startswith("Max locked memory"):
            words = line.removeprefix("Max locked memory").split()
            break
    else:
        return _unknown("memlock", path, "not-there", "there is no line Max locked memory")
    if words[2:] != ["bytes"] or not (words[0].isdecimal() or words[0] == "unlimited"):
        return _unknown("memlock", path, "malformed", f"{line[:80]!r} is not understood")
    return make_fact(
        ("policy", "memlock"),
        "yes",
        "ok",
        value=int(words[0]) if words[0].isdecimal() else words[0],
        source=path,
        detail=f"hard limit {words[1]}; CAP_IPC_LOCK is exempt",
    )
