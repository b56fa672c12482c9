"""What a run says of the machine it was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from fuaio.bench._record import Machine
from fuaio.probe import gather

if TYPE_CHECKING:
    from fuaio.bench._target import Target
    from fuaio.probe import Fact, Value

__all__ = ["describe_machine"]


def describe_machine(target: Target) -> Machine:
    """Return what is known of this machine, and of the disk below *target*."""
    device = target.device
    return Machine(
        kernel=platform.release(),
        processor=_processor(),
        processors=os.cpu_count() or 0,
        allowed_processors=sorted(os.sched_getaffinity(0)),
        python=platform.python_version(),
        place=target.place,
        file_system=target.file_system,
        device=device.name,
        device_model=device.setting("device/model"),
        write_cache=device.setting("queue/write_cache"),
        fua=device.setting("queue/fua"),
        why_no_flushes=device.why_no_flushes,
        build={fact.name: _words(fact.state, fact.value) for fact in _build()},
    )


def _build() -> list[Fact]:
    return gather(["build"]).sections["build"]


def _words(state: str, value: Value) -> str:
    return state if value is None else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
