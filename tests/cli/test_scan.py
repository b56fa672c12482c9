"""What a scan says of prefixes, sysroots, cross files and compilers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from meson_runs import SOURCE
from scan_places import LIBAIO, LIBURING, SYSTEM, Maker, environment, run_json, run_scan

from fuaio.probe import decode_report

pytestmark = pytest.mark.builds

GUIDE = (SOURCE / "docs" / "scan.md").read_text()
MACHINE = "[host_machine]\nsystem = 'linux'\ncpu_family = 'x86_64'\ncpu = 'x'\nendian = 'little'\n"
NASTY = 'a b\'s "c" é@0@#$HOME%d\\'


def replace_description(prefix: Path, text: str) -> None:
    """Let pkg-config say *text* of liburing; the header does not tell its version."""
    (prefix / "lib/pkgconfig/liburing.pc").write_text(text)
    version = prefix / "include/liburing/io_uring_version.h"
    if version.exists():
        version.write_text("")


def test_each_place_is_asked_for_its_own_headers_in_the_order_given(maker: Maker) -> None:
    new = maker.prefix("new", "libaio-genuine", "liburing-genuine")
    old = maker.prefix("old", "libaio-ablated", "liburing-ablated")
    done = run_json("--prefix", old, "--cc", "cc", "--prefix", new, "--cc", "cc -O0")
    assert list(done.columns) == [f"prefix:{old}", "cc:cc", f"prefix:{new}", "cc:cc -O0"]
    for helper in (LIBAIO, LIBURING):
        assert done.of(f"prefix:{old}", helper) == "no symbol-missing"
        for place in ("cc:cc", f"prefix:{new}", "cc:cc -O0"):
            assert done.of(place, helper) == "yes ok"


def test_a_library_that_a_prefix_lacks_is_not_answered_for_by_that_of_the_system(
    maker: Maker,
) -> None:
    one = maker.prefix("one", "liburing-genuine")
    headers = maker.prefix("headers", "libaio-genuine", "liburing-genuine")
    shutil.rmtree(headers / "lib")
    done = run_json("--prefix", one, "--prefix", headers)
    assert done.of(f"prefix:{one}", "liburing") == "yes ok"
    for name in ("libaio", LIBAIO, "laio_has_fua"):
        assert done.of(f"prefix:{one}", name) == "no header-missing"
        assert done.of(f"prefix:{headers}", name) == "no library-missing"
    assert done.of(f"prefix:{headers}", "liburing") == "no library-missing"
    assert done.of(f"prefix:{one}", SYSTEM) == "yes ok"  # libc is the compiler's


def test_a_header_that_does_not_compile_is_unknown_and_its_error_told(maker: Maker) -> None:
    broken = maker.prefix("broken", "libaio-genuine", "liburing-broken")
    done = run_scan("--prefix", broken)
    rows = dict(line.split() for line in done.stdout.splitlines() if line.startswith("io_uring_"))
    assert rows[LIBURING] == "unknown:header-unusable"
    told = "liburing.h:1: linux/no-such-header.h: No such file or directory"
    assert f"# prefix:{broken} liburing: {told}" in done.stdout.splitlines()
    assert done.code == 0


def test_a_path_of_blanks_quotes_and_other_letters_is_a_place_like_any(
    maker: Maker, tmp_path: Path
) -> None:
    nasty = maker.prefix(NASTY, "libaio-ablated", "liburing-broken")
    sysroot = maker.sysroot(NASTY + " root", "libaio-ablated", "liburing-broken")
    temporary = tmp_path / "temporary é folder"
    temporary.mkdir()
    places = ("--prefix", nasty, "--sysroot", sysroot)
    done = run_json(*places, env=environment(TMPDIR=str(temporary)))
    for place in (f"prefix:{nasty}", f"sysroot:{sysroot}"):
        assert done.of(place, "libaio") == "yes ok"
        assert done.of(place, LIBAIO) == "no symbol-missing"
        assert done.of(place, "liburing") == "unknown header-unusable"
    assert not list(temporary.iterdir())


def test_a_name_that_is_no_utf_8_is_a_place_too(maker: Maker) -> None:
    prefix = maker.prefix(os.fsdecode(b"\xff"), "liburing-genuine")
    done = run_json("--prefix", prefix)
    ((label, _),) = done.columns.items()
    assert label == f"prefix:{prefix.parent}/\\udcff"
    assert done.of(label, LIBURING) == "yes ok"


def test_the_paths_that_a_prefix_tells_of_itself_are_not_believed(maker: Maker) -> None:
    # As in an unpacked package.
    prefix = maker.prefix("unpacked", "liburing-ablated")
    told = "prefix=/usr\nName: x\nDescription: x\nVersion: 0.6\nCflags: -I${prefix}/include\n"
    replace_description(prefix, told + "Libs: -luring\n")
    done = run_json("--prefix", prefix)
    assert done.of(f"prefix:{prefix}", LIBURING) == "no symbol-missing"
    assert done.fact(f"prefix:{prefix}", "liburing_version")["value"] == "0.6"


def test_where_no_version_is_told_it_is_bounded_by_the_symbols(maker: Maker) -> None:
    told = ("", "Version:", "Version: '; error('x')", "Version: ${v}")
    prefixes = [maker.prefix(str(number), "liburing-ablated") for number in range(len(told))]
    for prefix, text in zip(prefixes, told, strict=True):
        replace_description(prefix, text)
    done = run_json(*(word for prefix in prefixes for word in ("--prefix", prefix)))
    for prefix in prefixes:
        assert done.fact(f"prefix:{prefix}", "liburing_version")["value"].startswith(">=")


def test_a_library_link_that_leads_nowhere_leaves_the_archive_or_nothing(maker: Maker) -> None:
    # What the -dev package alone has.
    archive = maker.prefix("archive", "liburing-genuine")
    nothing = maker.prefix("nothing", "liburing-genuine")
    for prefix in (archive, nothing):
        (prefix / "lib/liburing.so").unlink()
        (prefix / "lib/liburing.so").symlink_to("/no/such/liburing.so.9")
    source = archive / "x.c"
    names = ("io_uring_queue_init", "io_uring_register_sync_cancel", "io_uring_queue_init_mem")
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    subprocess.run(["cc", "-c", "-o", archive / "x.o", source], check=True)
    subprocess.run(["ar", "rc", archive / "lib/liburing.a", archive / "x.o"], check=True)
    done = run_json("--prefix", archive, "--prefix", nothing)
    assert done.of(f"prefix:{archive}", "liburing") == "yes ok"
    assert done.of(f"prefix:{nothing}", "liburing") == "no library-missing"


def test_a_sysroot_answers_for_its_headers_alone(maker: Maker) -> None:
    none = maker.sysroot("none")
    some = maker.sysroot("some", "libaio-ablated", "liburing-genuine")
    done = run_json("--sysroot", none, "--sysroot", some)
    for library in ("libaio", "liburing"):
        assert done.of(f"sysroot:{none}", library) == "no header-missing"
        assert done.of(f"sysroot:{some}", library) == "yes ok"
    assert done.of(f"sysroot:{some}", LIBAIO) == "no symbol-missing"
    assert done.of(f"sysroot:{some}", LIBURING) == "yes ok"
    assert done.of(f"sysroot:{none}", SYSTEM) == "yes ok"


def test_a_cross_file_says_which_compiler_and_flags(maker: Maker, tmp_path: Path) -> None:
    old = maker.prefix("old", "libaio-ablated")
    cross = tmp_path / "a cross é file"
    flags = f"['-isystem', '{old}/include']"
    cross.write_text(f"[binaries]\nc = 'cc'\n[built-in options]\nc_args = {flags}\n{MACHINE}")
    done = run_json("--cross", cross)
    assert done.of(f"cross:{cross}", LIBAIO) == "no symbol-missing"
    assert done.fact(f"cross:{cross}", "host")["value"] == "x86_64-linux"


def test_flags_of_the_caller_are_a_matter_of_a_compiler_and_of_no_other_place(
    maker: Maker,
) -> None:
    new = maker.prefix("new", "libaio-genuine", "liburing-genuine")
    old = maker.prefix("old", "libaio-ablated", "liburing-ablated")
    flags = {"CFLAGS": f"-I{old}/include", "CPATH": f"{old}/include", "CC": "cc -DCC"}
    env = environment(**flags, PKG_CONFIG_PATH=f"{old}/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR="/x")
    done = run_json("--prefix", new, "--cc", "cc", "--sysroot", "/", env=env)
    for helper in (LIBAIO, LIBURING):
        assert done.of("cc:cc", helper) == "no symbol-missing"
        assert done.of(f"prefix:{new}", helper) == "yes ok"
        assert done.of("sysroot:/", helper) == "yes ok"


def test_without_a_place_it_is_this_system_with_the_compiler_of_cc(maker: Maker) -> None:
    assert list(run_json().columns) == ["cc:cc"]
    done = run_json(env=environment(CC="cc -m64 -DX='a b'"))
    assert done.of("cc:cc -m64 -DX='a b'", LIBAIO) == "yes ok"


def test_a_table_of_the_callers_own_is_asked_instead(maker: Maker, tmp_path: Path) -> None:
    old = maker.prefix("old", "libaio-genuine", "liburing-ablated")
    (old / "include/sub").mkdir()
    (old / "include/sub/own-1.h").write_text(
        "#include <stddef.h>\ntypedef struct { float x; } point;\nextern point where;\n"
        "enum { CONSTANT };\n#define MACRO\nvoid not_in_any_library(void);\n"
    )
    names = ("point", "where", "CONSTANT", "MACRO", "not_in_any_library", "no_such")
    asked = [("sub/own-1.h", name, "size_t") for name in names]
    asked += [("liburing.h", LIBURING, "io_uring_prep_writev"), ("stdio.h", "printf", "puts")]
    rows = [
        f'[[symbol]]\nheader = "{header}"\nsymbol = "{symbol}"\ncontrol = "{control}"\n'
        for header, symbol, control in asked
    ]
    table = tmp_path / "table.toml"
    table.write_text("".join(rows))
    done = run_json("--symbols", table, "--prefix", old, "--cc", "cc")
    place = f"prefix:{old}"
    for name in names[:-1]:
        assert done.of(place, name) == "yes ok"
        assert done.of("cc:cc", name) == "no header-missing"
    assert done.of(place, "no_such") == "no symbol-missing"
    assert done.of(place, LIBURING) == "no symbol-missing"
    assert done.of(place, "printf") == "no header-missing"  # not the prefix's
    assert done.of("cc:cc", "printf") == done.of("cc:cc", LIBURING) == "yes ok"
    sysroot = run_json("--symbols", table, "--sysroot", "/")
    assert sysroot.of("sysroot:/", "printf") == "yes ok"


def test_json_holds_reports_that_check_can_be_asked(maker: Maker, tmp_path: Path) -> None:

    prefix = maker.prefix("prefix", "liburing-ablated")
    done = run_scan("--format", "json", "--prefix", prefix, "--prefix", tmp_path / "none")
    document = msgspec.json.decode(done.stdout)
    assert list(document) == ["schema_version", "fuaio_version", "places"]
    answered, failed = document["places"]
    assert list(answered) == ["place", "report"]
    assert failed == {
        "place": f"prefix:{tmp_path}/none",
        "error": f"{tmp_path}/none: No such file or directory",
    }
    report = decode_report(msgspec.json.encode(answered["report"]))
    assert report.facts()["build", LIBURING].reason == "symbol-missing"


def test_the_guide_shows_the_rows_that_there_are() -> None:
    shown = GUIDE.partition("\nFACT ")[2].partition("\n#")[0].splitlines()[1:]
    rows = run_scan().stdout.splitlines()[2:]
    assert [row.split()[0] for row in shown] == [row.split()[0] for row in rows if row[0] != "#"]


def test_macros_are_those_of_the_one_place(maker: Maker) -> None:
    prefix = maker.prefix("prefix", "libaio-ablated", "liburing-broken")
    done = run_scan("--prefix", prefix, "--format", "macros", "--macro-prefix", "DEMO_")
    lines = done.stdout.splitlines()
    assert "#define DEMO_HAVE_IO_PREP_PWRITEV2 0 /* symbol-missing */" in lines
    assert [line for line in lines if line.startswith("#define DEMO_LIBURING_UNKNOWN 1 /*")]
    assert (done.code, done.stderr) == (0, "")
