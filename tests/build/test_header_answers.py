"""Every state and every reason of the build probe, and what follows from it."""

from __future__ import annotations

import platform
import re
import socket
import subprocess
from pathlib import Path

import pytest
from header_prefixes import Prefixes
from meson_runs import Answers, Probe

pytestmark = pytest.mark.builds

HELPERS = {"libaio": "io_prep_pwritev2", "liburing": "io_uring_prep_writev2"}
HAS_FUA = {"libaio": "laio_has_fua", "liburing": "luring_has_fua"}
OF_LIBAIO = ("libaio", "io_prep_pwritev2", "io_pgetevents", "laio_has_fua")
CAPABILITIES = (
    *OF_LIBAIO,
    "liburing",
    "io_uring_prep_write",
    "io_uring_prep_writev2",
    "io_uring_register_sync_cancel",
    "io_uring_queue_init_mem",
    "io_uring_prep_writev_fixed",
    "luring_has_fua",
    "pwritev2",
    "RWF_DSYNC",
)
OBSERVATIONS = (
    "libaio_version",
    "liburing_version",
    "compiler",
    "c_std",
    "meson_version",
    "buildtype",
    "host",
    "require_fua",
)


def all_of(answers: Answers, library: str) -> set[str]:
    """Give the states and reasons of *library*, its helper and its has_fua function."""
    return {answers.of(name) for name in (library, HELPERS[library], HAS_FUA[library])}


def test_a_genuine_header_has_its_helper_and_config_h_says_so(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    answers = private_probe.configure()
    for library in HELPERS:
        assert all_of(answers, library) == {"yes ok"}
        assert answers.config[f"HAVE_{library.upper()}"] == 1
        assert answers.config[f"HAVE_{HELPERS[library].upper()}"] == 1
    assert private_probe.compile().returncode == 0


def test_an_ablated_header_is_usable_and_lacks_its_helper(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.libaio("ablated")
    prefixes.liburing("ablated")
    answers = private_probe.configure()
    for library in HELPERS:
        assert answers.of(library) == "yes ok"
        assert answers.of(HELPERS[library]) == answers.of(HAS_FUA[library]) == "no symbol-missing"
        assert answers.config[f"HAVE_{library.upper()}"] == 1
        assert answers.config[f"HAVE_{HELPERS[library].upper()}"] == 0
    assert private_probe.compile().returncode == 0


@pytest.mark.parametrize("library", HELPERS)
def test_a_disabled_library_is_not_asked(probe: Probe, library: str) -> None:
    answers = probe.configure(f"-Dfuaio:{library}=disabled")
    assert all_of(answers, library) == {"no disabled"}
    assert answers.config[f"HAVE_{library.upper()}"] == 0
    assert f"{HELPERS[library]} compiles" not in answers.output


def test_a_library_that_does_not_link_is_missing(
    probe: Probe, compiler_without_library: Path
) -> None:
    answers = probe.configure(CC=str(compiler_without_library))
    for library in HELPERS:
        assert all_of(answers, library) == {"no library-missing"}
        assert answers.config[f"HAVE_{library.upper()}"] == 0


def test_a_library_without_its_header_is_told_apart(probe: Probe, without_headers: str) -> None:
    answers = probe.configure(CFLAGS=without_headers)
    for library in HELPERS:
        assert all_of(answers, library) == {"no header-missing"}
        assert answers.facts[library]["value"] is False


def test_a_header_that_does_not_compile_is_unknown_and_its_first_error_is_quoted(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.libaio("broken")
    prefixes.liburing("broken")
    answers = private_probe.configure()
    for library in HELPERS:
        assert all_of(answers, library) == {"unknown header-unusable"}
        assert answers.facts[library]["value"] is None
        assert answers.config[f"HAVE_{library.upper()}"] == 0
        quoted = answers.detail(library)
        assert quoted.startswith(f"{library}.h:1: ")
        assert "linux/no-such-header.h" in quoted
        assert f"WARNING: built without {library}" in answers.output
        # The quote is short, the whole of what the compiler said is in the log.
        assert (
            f"{prefixes.folder}/{library}/include/{library}.h:1:10: fatal error" in answers.output
        )
    assert private_probe.compile().returncode == 0


def test_a_complaint_with_control_characters_is_quoted_in_what_json_can_hold(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    header = prefixes.libaio("genuine") / "include/libaio.h"
    header.write_bytes(b'#error "\x1b[31m \xc3\xa9 \\ bell\x07"\n' + header.read_bytes())
    answers = private_probe.configure()
    assert answers.of("libaio") == "unknown header-unusable"
    assert re.fullmatch(r'libaio\.h:1: #error ".*31m.* bell.*"', answers.detail("libaio"))
    assert private_probe.compile().returncode == 0


def test_a_compiler_that_links_nothing_is_an_error_and_no_missing_library(
    probe: Probe, tmp_path: Path
) -> None:
    compiler = tmp_path / "cc"
    # Meson asks for the linker's version first, which binutils 2.44 refuses with such an option.
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) exec cc "$@" ;; esac\n'
        'exec cc -Wl,--no-such-option "$@"\n'
    )
    compiler.chmod(0o755)
    cross = tmp_path / "cross"  # otherwise Meson itself would notice, when it runs a program
    cross.write_text(
        f"[binaries]\nc = '{compiler}'\npkg-config = 'pkg-config'\n"
        "[properties]\nneeds_exe_wrapper = true\n[host_machine]\nsystem = 'linux'\n"
        "cpu_family = 'x86_64'\ncpu = 'x86_64'\nendian = 'little'\n"
    )
    answers = probe.configure("--cross-file", str(cross))
    assert "the compiler links no program, not even an empty one" in answers.error
    assert "--no-such-option" in answers.error


def test_flags_that_break_every_program_do_not_make_a_header_missing(
    probe: Probe, prefixes: Prefixes
) -> None:
    description = prefixes.folder / "liburing/lib/pkgconfig/liburing.pc"
    text = description.read_text()
    description.write_text(text.replace("-I${includedir}", "-include no-such-file.h"))
    answers = probe.configure(PKG_CONFIG_PATH=str(description.parent))
    assert all_of(answers, "liburing") == {"unknown header-unusable"}
    assert "no-such-file.h" in answers.detail("liburing")


@pytest.mark.parametrize(("quote", "answer"), [("", "unknown header-unusable"), ('"', "yes ok")])
def test_a_prefix_with_a_blank_in_its_path_is_never_answered_with_no(
    tmp_path: Path, probe: Probe, prefixes: Prefixes, quote: str, answer: str
) -> None:
    # Without quotes in its file, pkg-config gives flags that break at the blank.
    folder = tmp_path / "a blank"
    prefixes.folder.rename(folder)
    description = folder / "liburing/lib/pkgconfig/liburing.pc"
    text = description.read_text().replace(str(prefixes.folder), str(folder))
    description.write_text(re.sub(r"(-[IL]\S+)", rf"{quote}\1{quote}", text))
    answers = probe.configure(PKG_CONFIG_PATH=str(description.parent))
    assert all_of(answers, "liburing") == {answer}


def test_what_a_header_declares_and_the_library_lacks_is_missing(
    tmp_path: Path, probe: Probe, prefixes: Prefixes
) -> None:
    folder = prefixes.liburing("genuine")
    (folder / "lib/liburing.so").unlink()
    stub = tmp_path / "stub.c"
    stub.write_text("void io_uring_queue_init(void) {}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "lib/liburing.so", stub], check=True)
    answers = probe.configure(PKG_CONFIG_PATH=str(folder / "lib/pkgconfig"))
    assert answers.of("liburing") == answers.of("io_uring_prep_writev2") == "yes ok"
    assert answers.of("io_uring_register_sync_cancel") == "no symbol-missing"
    assert "the library does not have it" in answers.detail("io_uring_register_sync_cancel")


def test_the_answers_are_of_the_header_that_the_code_gets_when_two_are_named(
    tmp_path: Path, made_prefixes: Path
) -> None:
    for by_flag, by_pkg_config in (("genuine", "ablated"), ("ablated", "genuine")):
        probe = Probe(
            tmp_path / by_flag,
            {
                "CFLAGS": f"-I{made_prefixes}/liburing-{by_flag}/include",
                "PKG_CONFIG_PATH": f"{made_prefixes}/liburing-{by_pkg_config}/lib/pkgconfig",
            },
        )
        answers = probe.configure()
        assert answers.config["HAVE_IO_URING_PREP_WRITEV2"] == (by_flag == "genuine")
        assert probe.compile().returncode == 0


def test_libaio_is_taken_from_pkg_config_where_somebody_wrote_a_file_for_it(
    probe: Probe, prefixes: Prefixes
) -> None:
    folder = prefixes.libaio("ablated")
    (folder / "libaio.pc").write_text(
        f"prefix={folder}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n"
        "Name: libaio\nDescription: asynchronous I/O\nVersion: 0.3.110\n"
        "Libs: -L${libdir} -laio\nCflags: -I${includedir}\n"
    )
    answers = probe.configure(PKG_CONFIG_PATH=str(folder))
    assert answers.of("libaio") == "yes ok"
    assert answers.of("io_prep_pwritev2") == "no symbol-missing"
    assert probe.compile().returncode == 0


def test_libaio_is_found_by_meson_arguments_too(probe: Probe, prefixes: Prefixes) -> None:
    folder = prefixes.libaio("ablated")
    answers = probe.configure(f"-Dc_args=-I{folder}/include", f"-Dc_link_args=-L{folder}/lib")
    assert answers.of("io_prep_pwritev2") == "no symbol-missing"


def test_libaio_has_bounds_for_a_version_and_liburing_its_own(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.set_liburing_version("2.3")
    answers = private_probe.configure()
    assert answers.facts["libaio_version"]["value"] == ">=0.3.112"
    assert answers.facts["liburing_version"]["value"] == "2.3"
    # pkg-config is asked again although Meson keeps the version of a dependency.
    prefixes.set_liburing_version("2.4")
    assert private_probe.reconfigure().facts["liburing_version"]["value"] == "2.4"


def test_a_header_that_is_not_of_the_version_that_is_told_is_noted(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.liburing("ablated")
    prefixes.set_liburing_version("2.3")
    answers = private_probe.configure()
    assert answers.facts["liburing_version"]["value"] == "2.3"
    assert "io_uring_prep_writev2 is missing" in answers.detail("liburing_version")
    assert "header and library may not belong together" in answers.output


def test_the_version_is_told_also_of_a_header_that_does_not_compile(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.libaio("broken")
    prefixes.liburing("broken")
    prefixes.set_liburing_version("2.9")
    answers = private_probe.configure()
    assert answers.facts["liburing_version"]["value"] == "2.9"
    assert answers.of("libaio_version") == "unknown header-unusable"


def test_a_library_that_is_not_there_has_no_version_and_a_reason(probe: Probe) -> None:
    answers = probe.configure("-Dfuaio:libaio=disabled")
    assert answers.of("libaio_version") == "unknown disabled"
    assert answers.facts["libaio_version"]["value"] is None


@pytest.mark.parametrize("without", [(), ("-Dfuaio:libaio=disabled", "-Dfuaio:liburing=disabled")])
def test_every_fact_is_always_there(probe: Probe, without: tuple[str, ...]) -> None:
    answers = probe.configure(*without)
    capabilities = [n for n, fact in answers.facts.items() if fact["kind"] == "capability"]
    observations = [n for n, fact in answers.facts.items() if fact["kind"] == "observation"]
    assert sorted(capabilities) == sorted(CAPABILITIES)
    assert sorted(observations) == sorted(OBSERVATIONS)
    assert answers.of("pwritev2") == answers.of("RWF_DSYNC") == "yes ok"


def test_the_summary_shows_every_fact_with_its_reason(
    private_probe: Probe, prefixes: Prefixes
) -> None:
    prefixes.liburing("ablated")
    answers = private_probe.configure("-Dfuaio:libaio=disabled")
    summary = answers.output.partition("What the headers give")[2]
    lines = dict(re.findall(r"(?m)^ +(\w+) *: (.*)$", summary))
    assert set(answers.facts) <= set(lines)
    assert lines["libaio"] == "no (disabled)"
    assert lines["io_uring_prep_writev2"] == "no (symbol-missing, came with 2.2)"
    assert lines["io_uring_prep_write"] == "yes"
    assert lines["host"] == answers.facts["host"]["value"]


def test_nothing_of_the_machine_or_the_moment_is_in_the_result(
    private_probe: Probe, prefixes: Prefixes, tmp_path: Path
) -> None:
    prefixes.liburing("broken")
    private_probe.configure()
    first = private_probe.build_json()
    again = Probe(tmp_path / "elsewhere", prefixes.env())
    again.configure()
    assert again.build_json() == first
    for word in (str(tmp_path), str(Path.home()), socket.gethostname() + ".", platform.release()):
        assert word not in first
