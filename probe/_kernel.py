"""The kernel section: which engines work here, and which flags they take, learnt by doing.

The questions are put to the kernel by the core, on memory files, so that no trace is left.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from fuaio.probe._core import ask_engine
from fuaio.probe._known import ENGINES, make_fact
from fuaio.probe._proc import read_text
from fuaio.probe._record import Fact, State

if TYPE_CHECKING:
    from fuaio.aio._ask import Answer

_CALL = {"io_uring": "io_uring_setup", "linux_aio": "io_setup", "threads": "pwritev2"}
_SUFFIXES = ("", "_errno", "_takes_dsync", "_refuses_unknown")


def read_kernel(root: Path) -> list[Fact]:
    """Return the facts of the kernel section; the release as /proc below *root* tells it."""
    facts = [_release(root)]
    for engine in ENGINES:
        answer = ask_engine(engine)
        facts += _not_asked(engine, answer) if isinstance(answer, str) else _asked(answer)
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


def _asked(answer: Answer) -> list[Fact]:
    engine = answer.engine
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
        _learnt(answer, "_takes_dsync", answer.takes_dsync),
        _learnt(answer, "_refuses_unknown", answer.refuses_unknown),
    ]


def _errno(answer: Answer) -> Fact:
    """The errno as a number; 0 is "it worked", which an engine that was never asked cannot say."""
    key = ("kernel", f"{answer.engine}_errno")
    source = _CALL[answer.engine]
    if answer.cause and not answer.errno:
        return make_fact(key, "unknown", answer.cause, source=source)
    name = errno.errorcode.get(answer.errno, "")
    return make_fact(key, "yes", "ok", value=answer.errno, source=source, detail=name)


def _learnt(answer: Answer, suffix: str, taken: bool | None) -> Fact:
    key = ("kernel", answer.engine + suffix)
    if taken is None:
        return make_fact(key, "unknown", answer.cause or "not-learnt", source="memfd")
    return make_fact(key, "yes" if taken else "no", "ok" if taken else "kernel", source="memfd")
