"""The kernel section: which engines work here, and which flags they take, learnt by doing.

The questions are put to the kernel by the core, on memory files, so that no trace is left.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fuaio.probe._core import ask_engine
from fuaio.probe._known import ENGINES, make_fact
from fuaio.probe._proc import read_text
from fuaio.probe._record import Fact, State

if TYPE_CHECKING:
    from fuaio.probe._core import Answer

_CALL = {"io_uring": "io_uring_setup", "linux_aio": "io_setup", "threads": "pwritev2"}
_HELPER = {"io_uring": "luring_has_fua", "linux_aio": "laio_has_fua"}
_SUFFIXES = ("", "_errno", "_takes_dsync", "_refuses_unknown")


def read_kernel(root: Path, build: Mapping[str, Fact]) -> list[Fact]:
    """Return the facts of the kernel section.

    Args:
        root: Where /proc lies, for the release.
        build: The build section by name: without its helper an engine cannot pass a flag.
    """
    facts = [_release(root)]
    for engine in ENGINES:
        answer = ask_engine(engine)
        facts += _not_asked(engine, answer) if isinstance(answer, str) else _asked(answer, build)
    return facts


def _release(root: Path) -> Fact:
    path = "/proc/sys/kernel/osrelease"
    reading = read_text(root, path)
    state: State = "unknown" if reading.text is None else "yes"
    return make_fact(
        ("kernel", "release"),
        state,
        reading.reason,
        value=reading.text,
        source=path,
        detail=reading.detail,
    )


def _not_asked(engine: str, failure: str) -> list[Fact]:
    """Nothing is known about an engine when there is no core to ask with."""
    return [
        make_fact(("kernel", engine + suffix), "unknown", "core-not-loaded", detail=failure)
        for suffix in _SUFFIXES
    ]


def _asked(answer: Answer, build: Mapping[str, Fact]) -> list[Fact]:
    engine = answer.engine
    helper = build.get(_HELPER.get(engine, ""))
    why_not = answer.cause
    if not why_not and helper is not None and helper.state != "yes":
        why_not = helper.reason
    works: State = "no" if answer.cause else "yes"
    return [
        make_fact(
            ("kernel", engine),
            works,
            answer.cause or "ok",
            source=_CALL[engine],
            detail=answer.message,
        ),
        _errno(answer),
        _learnt(f"{engine}_takes_dsync", answer.takes_dsync, why_not),
        _learnt(f"{engine}_refuses_unknown", answer.refuses_unknown, why_not),
    ]


def _errno(answer: Answer) -> Fact:
    """The errno as a number; 0 is "it worked", which an engine that was never asked cannot say."""
    key = ("kernel", f"{answer.engine}_errno")
    source = _CALL[answer.engine]
    if answer.cause and not answer.errno:
        return make_fact(key, "unknown", answer.cause, source=source)
    name = errno.errorcode.get(answer.errno, "")
    return make_fact(key, "yes", "ok", value=answer.errno, source=source, detail=name)


def _learnt(name: str, is_so: bool | None, why_not: str) -> Fact:
    key = ("kernel", name)
    if is_so is None:
        return make_fact(key, "unknown", why_not or "not-learnt", source="memfd")
    return make_fact(key, "yes" if is_so else "no", "ok" if is_so else "kernel", source="memfd")
