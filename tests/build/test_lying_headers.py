"""The four ways in which a header probe lies, each beside the naive probe that is taken in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from header_prefixes import Prefixes
from meson_runs import Probe

pytestmark = pytest.mark.builds

HELPERS = {"libaio": "io_prep_pwritev2", "liburing": "io_uring_prep_writev2"}


def test_the_header_of_the_dependency_is_asked_and_not_that_of_the_system(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.liburing("ablated")
    answers = private_probe.configure()
    assert answers.naive["io_uring_prep_writev2"] is True  # that of the system
    assert answers.of("io_uring_prep_writev2") == "no symbol-missing"


@pytest.mark.parametrize("helper", HELPERS.values())
def test_strict_c11_does_not_hide_a_helper(
    private_probe: Probe, prefixes: Prefixes, helper: str
) -> None:
    # liburing 0.7, 2.9 and 2.15 leave it to the compiler's arguments to show GNU's names, 2.3 does
    # not; libaio does since 0.3.112.
    header = prefixes.folder / "liburing/include/liburing.h"
    header.write_text(re.sub(r"#define _(GNU|XOPEN)_SOURCE.*", "", header.read_text()))
    flags = private_probe.env["CFLAGS"] + f" -I{prefixes.folder}/liburing/include"
    answers = private_probe.configure("-Dc_std=c11", "-Dfuaio:c_std=c11", CFLAGS=flags)
    assert answers.naive[helper] is False
    assert answers.of(helper) == "yes ok"
    assert answers.facts["c_std"]["value"] == "c11"
    assert private_probe.compile().returncode == 0


def test_strict_c11_does_not_hide_what_libc_has(probe: Probe) -> None:
    answers = probe.configure("-Dc_std=c11", "-Dfuaio:c_std=c11")
    assert answers.naive["pwritev2"] is False
    assert answers.of("pwritev2") == answers.of("RWF_DSYNC") == "yes ok"


@pytest.mark.parametrize("library", HELPERS)
def test_a_header_that_does_not_compile_is_not_a_missing_symbol(
    private_probe: Probe, prefixes: Prefixes, library: str
) -> None:
    helper = HELPERS[library]
    broken = prefixes.libaio("broken") if library == "libaio" else prefixes.liburing("broken")
    answers = private_probe.configure(CFLAGS=f"-I{broken}/include")
    assert answers.naive[helper] is False  # no word of why
    assert answers.of(helper) == "unknown header-unusable"


@pytest.mark.parametrize(("before", "after"), [("genuine", "ablated"), ("ablated", "genuine")])
def test_a_reconfigure_sees_that_the_header_changed(
    private_probe: Probe, prefixes: Prefixes, before: str, after: str
) -> None:
    prefixes.libaio(before)
    prefixes.liburing(before)
    # The naive probe is given the same headers, or it would read those of the system.
    flags = private_probe.env["CFLAGS"] + f" -I{prefixes.folder}/liburing/include"
    private_probe.configure(CFLAGS=flags)
    prefixes.libaio(after)
    prefixes.liburing(after)
    answers = private_probe.reconfigure()
    for helper in ("io_prep_pwritev2", "io_uring_prep_writev2"):
        assert answers.naive[helper] == (before == "genuine")  # as it was
        assert answers.config[f"HAVE_{helper.upper()}"] == (after == "genuine")
    assert private_probe.compile().returncode == 0


def test_a_reconfigure_sees_that_a_macro_alone_changed(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    header = prefixes.libaio("ablated") / "include/libaio.h"
    assert private_probe.configure().of("io_prep_pwritev2") == "no symbol-missing"
    with header.open("a") as text:
        text.write("#define io_prep_pwritev2 io_prep_pwritev2\n")
    answers = private_probe.reconfigure()
    assert answers.naive["io_prep_pwritev2"] is False  # as it was
    assert answers.of("io_prep_pwritev2") == "yes ok"


@pytest.mark.parametrize("library", HELPERS)
def test_a_reconfigure_sees_that_a_header_was_mended(
    private_probe: Probe, prefixes: Prefixes, library: str
) -> None:
    put = prefixes.libaio if library == "libaio" else prefixes.liburing
    put("broken")
    assert private_probe.configure().of(library) == "unknown header-unusable"
    put("genuine")
    assert private_probe.reconfigure().of(library) == "yes ok"


@pytest.mark.parametrize("library", HELPERS)
def test_a_reconfigure_sees_that_a_library_came(
    private_probe: Probe, prefixes: Prefixes, compiler_without_library: Path, library: str
) -> None:
    # The header stays as it is. A link that leads nowhere is what a -dev package alone has.
    shared = prefixes.folder / library / "lib" / f"{library}.so"
    genuine = shared.readlink()
    shared.unlink()
    shared.symlink_to("no-such-library")
    answers = private_probe.configure(CC=str(compiler_without_library))
    assert answers.of(library) == "no library-missing", answers.output
    shared.unlink()
    shared.symlink_to(genuine)
    compiler_without_library.with_suffix(".finds-all").touch()
    answers = private_probe.reconfigure()
    assert answers.of(library) == "yes ok", answers.output
