"""Every fact that fuaio knows of, whether or not it can be learnt here.

The one table behind the report, the help texts and the guide: a report holds all of these.
"""

from __future__ import annotations

from typing import NamedTuple

from fuaio.probe._record import Fact, Kind, State, Value

SECTIONS = ("build", "library", "kernel", "policy", "target", "trial", "observation")
ENGINES = ("io_uring", "linux_aio", "threads")
VERDICTS = ("native", "not_needed", "emulated", "none", "unknown")

# The library that an engine is built on; threads needs none.
LIBRARY_OF = {"io_uring": "liburing", "linux_aio": "libaio"}

Key = tuple[str, str]


class Known(NamedTuple):
    """What is declared about a fact before anything is learnt."""

    section: str
    name: str
    kind: Kind
    unit: str
    meaning: str


def _can(section: str, name: str, meaning: str) -> Known:
    return Known(section, name, "capability", "", meaning)


def _saw(section: str, name: str, meaning: str, unit: str = "") -> Known:
    return Known(section, name, "observation", unit, meaning)


def _engine(name: str, object_: str, call: str) -> tuple[Known, ...]:
    return (
        _can("kernel", name, f"{object_}, so the {name} engine works"),
        _saw("kernel", f"{name}_errno", f"what {call} answered; 0 where it worked", "errno"),
        _can("kernel", f"{name}_takes_dsync", f"a write with RWF_DSYNC is taken by {name}"),
        _can(
            "kernel",
            f"{name}_refuses_unknown",
            f"a write with a flag that no kernel knows is refused by {name}, "
            "so that taking RWF_DSYNC means knowing it",
        ),
    )


def _verdicts() -> tuple[Known, ...]:
    doing = {"overwrite": "written blocks are overwritten", "append": "the file grows"}
    return tuple(
        _saw(
            "target",
            f"{engine}_{name}",
            f"verdict on a direct durable write of {engine} where {words}",
        )
        for engine in ENGINES
        for name, words in doing.items()
    )


def _asked() -> tuple[Known, ...]:
    return tuple(
        _saw(
            "observation", f"{who}_{what}_asked", f"of the disks, for each durable {what} of {who}"
        )
        for who in (*ENGINES, "pwritev2")
        for what in ("overwrite", "append")
    )


def _trials() -> tuple[Known, ...]:
    methods = {
        **{engine: f"RWF_DSYNC by {engine}" for engine in ENGINES},
        "o_dsync": "a write to a descriptor opened with O_DSYNC",
        "fdatasync": "a write, then fdatasync",
        "group": "16 writes at once, then a flush",
    }
    doing = {"overwrite": "overwriting", "append": "appending"}
    return (
        _saw("trial", "direct_memory_align", "least that O_DIRECT took of a buffer", "bytes"),
        _saw("trial", "direct_offset_align", "least that O_DIRECT took of an offset", "bytes"),
        *(
            _saw("trial", f"{engine}_can_fua", f"how {engine} asked: native is with RWF_DSYNC")
            for engine in ENGINES
        ),
        *(
            _saw(
                "trial",
                f"{engine}_{what}_sleeps",
                f"of 16 submissions by {engine}, {words}: those that put the thread to sleep",
                "submissions",
            )
            for engine in ("io_uring", "linux_aio")
            for what, words in doing.items()
        ),
        *(
            _saw("trial", f"{method}_{what}_ns", f"{words}, 4096 bytes: {how}", "ns")
            for what, words in doing.items()
            for method, how in methods.items()
        ),
    )


_ORIGIN = (
    "wheel: the copy that came with the package, so that build tells of the wheel's headers; "
    "system: any other"
)

_TABLE = (
    _can("build", "libaio", "libaio's header and library are usable and not disabled"),
    _can("build", "liburing", "liburing's header and library are usable and not disabled"),
    _can("build", "io_prep_pwritev2", "libaio.h has the helper that takes flags (0.3.111)"),
    _can("build", "io_pgetevents", "libaio.h has it (0.3.112)"),
    _can("build", "io_uring_prep_write", "liburing.h has it (0.4)"),
    _can("build", "io_uring_prep_writev2", "liburing.h has the helper that takes flags (2.2)"),
    _can("build", "io_uring_register_sync_cancel", "liburing.h has it (2.3)"),
    _can("build", "io_uring_queue_init_mem", "liburing.h has it (2.5)"),
    _can("build", "io_uring_prep_writev_fixed", "liburing.h has it (2.10)"),
    _can("build", "pwritev2", "sys/uio.h declares it"),
    _can("build", "RWF_DSYNC", "sys/uio.h defines it"),
    _can("build", "laio_has_fua", "what fuaio.aio.laio_has_fua() answers"),
    _can("build", "luring_has_fua", "what fuaio.aio.luring_has_fua() answers"),
    _saw("build", "libaio_version", "bounds, from the symbols its header has"),
    _saw("build", "liburing_version", "of the header"),
    _saw("build", "compiler", "C compiler and its version"),
    _saw("build", "c_std", "the C standard asked for"),
    _saw("build", "meson_version", "of the Meson that configured it"),
    _saw("build", "buildtype", "Meson's buildtype"),
    _saw("build", "host", "processor family and system it is built for"),
    _saw("build", "require_fua", "the libraries whose helper the build insisted on"),
    _can("library", "core", "the C core of fuaio can be loaded"),
    _saw("library", "libaio_file", "the shared object that is loaded"),
    _saw("library", "libaio_origin", _ORIGIN),
    _saw("library", "libaio_soname", "its DT_SONAME"),
    _saw("library", "libaio_version", "bounds, from the symbol versions it defines"),
    _saw("library", "liburing_file", "the shared object that is loaded"),
    _saw("library", "liburing_origin", _ORIGIN),
    _saw("library", "liburing_soname", "its DT_SONAME"),
    _saw("library", "liburing_version", "bounds, from the symbol versions it defines"),
    _saw("kernel", "release", "of the running kernel"),
    *_engine("io_uring", "a ring can be made here", "io_uring_setup"),
    *_engine("linux_aio", "an AIO context can be made here", "io_setup"),
    *_engine("threads", "pwritev2 can be called here", "pwritev2"),
    _saw("policy", "io_uring_disabled", "sysctl: 0 nobody, 1 the unprivileged, 2 everybody"),
    _saw("policy", "io_uring_group", "sysctl: the group that io_uring_disabled=1 lets in; -1 none"),
    _saw("policy", "seccomp", "mode of this process: disabled, strict or filter"),
    _saw("policy", "seccomp_filters", "filters that this process is under", "filters"),
    _saw("policy", "aio_nr", "sysctl: AIO requests reserved in the whole system", "requests"),
    _saw("policy", "aio_max_nr", "sysctl: most that may be reserved", "requests"),
    _saw("policy", "memlock", "soft RLIMIT_MEMLOCK of this process, or unlimited", "bytes"),
    _saw("target", "path", "what was asked about, without links"),
    _saw("target", "kind", "file, folder or block device"),
    _saw("target", "file_system", "its type"),
    _saw("target", "mount_point", "where it is mounted"),
    _saw("target", "mount_source", "what is mounted there, as whoever did so called it"),
    _saw("target", "mount_options", "of the mount and of the file system"),
    _saw("target", "stack", "file system and devices from the top to the disks"),
    _saw("target", "disks", "the devices at the bottom"),
    _saw("target", "write_cache", "of the disks, as the kernel goes by it: write back or through"),
    _saw("target", "fua", "the disks take FUA writes: 1, 0 or mixed"),
    _saw("target", "rotational", "the disks turn: 1, 0 or mixed"),
    _saw("target", "logical_block_size", "of the disks", "bytes"),
    _saw("target", "physical_block_size", "of the disks", "bytes"),
    _saw(
        "target",
        "atomic_write_unit_min",
        "least that the disks write whole or not; 0 none",
        "bytes",
    ),
    _saw(
        "target", "atomic_write_unit_max", "most that the disks write whole or not; 0 none", "bytes"
    ),
    _saw(
        "target", "memory_align", "of buffers for direct I/O, by statx; 0: there is none", "bytes"
    ),
    _saw("target", "offset_align", "of offsets and lengths likewise", "bytes"),
    *_verdicts(),
    _saw("target", "buffered_overwrite", "verdict on a durable write through the page cache"),
    _saw("target", "overwrite", "the best engine's verdict on an overwrite"),
    _saw("target", "append", "the best engine's verdict where the file grows"),
    _saw("target", "summary", "both in one sentence"),
    *_trials(),
    *_asked(),
    _saw(
        "observation", "disagreements", "verdicts of the section target that were seen not to hold"
    ),
)

_TRUTH: dict[State, Value] = {"yes": True, "no": False, "unknown": None}
KNOWN: dict[Key, Known] = {(known.section, known.name): known for known in _TABLE}


def known_facts(section: str) -> tuple[Known, ...]:
    """Return what is known of *section*, in the order of a report."""
    return tuple(known for known in _TABLE if known.section == section)


def make_fact(
    key: Key,
    state: State,
    reason: str,
    *,
    value: Value = None,
    source: str = "",
    detail: str = "",
) -> Fact:
    """Return the fact that the table declares as *key*, with what was learnt.

    The value of a capability follows from its state.

    Raises:
        KeyError: The table does not have it.
    """
    known = KNOWN[key]
    if known.kind == "capability":
        value = _TRUTH[state]
    return Fact(
        name=known.name,
        kind=known.kind,
        state=state,
        reason=reason,
        value=as_unicode(value) if isinstance(value, str) else value,
        unit=known.unit,
        source=as_unicode(source),
        detail=as_unicode(detail),
    )


def as_unicode(text: str) -> str:
    """Paths may hold bytes that are no UTF-8 (surrogates in Python); JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
