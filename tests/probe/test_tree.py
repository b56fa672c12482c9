"""Where the headers and libraries of a prefix and of a sysroot are looked for."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from fuaio.probe._tree import HEADERS, LIBRARIES, Tree

MACHINE = "x86_64-linux-gnu"


def put(path: Path, text: str = "") -> Path:
    """Make a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def library_of(tree: Tree) -> str:
    """Return the library that pkg-config would name."""
    return tree.description("liburing").partition("Libs: ")[2].strip()


def test_the_headers_are_those_that_the_probe_asks() -> None:
    text = (files("fuaio.probe") / "symbols/table/meson.build").read_text()
    asked = re.findall(r"(?m)^  '([^']+)': \{'name': '|^  '([^']+)': \{$", text)
    assert [one or other for one, other in asked] == list(HEADERS)
    linked = re.findall(r"(?m)^  '([^']+)': \{\n    'name': '(\w+)',\n    'link'", text)
    assert dict(linked) == LIBRARIES


@pytest.mark.parametrize("folder", [f"lib/{MACHINE}", "lib64", "lib"])
def test_the_library_of_a_prefix_is_found_where_systems_put_it(tmp_path: Path, folder: str) -> None:
    tree = Tree(tmp_path, MACHINE, is_root=False)
    archive = put(tmp_path / folder / "liburing.a")
    assert library_of(tree) == str(archive)
    shared = put(tmp_path / folder / "liburing.so")
    assert library_of(tree) == str(shared)
    put(tmp_path / folder / "pkgconfig/liburing.pc", "Name: x\nVersion: 2.9-rc1\n")
    assert "\nVersion: 2.9-rc1\n" in tree.description("liburing")


@pytest.mark.parametrize("target", ["/lib/liburing.so.2", "../../lib/liburing.so.2"])
def test_the_links_of_a_sysroot_start_at_its_root(tmp_path: Path, target: str) -> None:
    real = put(tmp_path / "lib/liburing.so.2.9")
    (tmp_path / "lib/liburing.so.2").symlink_to("/lib/liburing.so.2.9")
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/liburing.so").symlink_to(target)
    assert Path(library_of(Tree(tmp_path, MACHINE, is_root=True))).resolve() == real


def test_a_link_of_a_sysroot_does_not_lead_out_of_it(tmp_path: Path) -> None:
    of_this_system = put(tmp_path / "liburing.so")
    archive = put(tmp_path / "root/usr/lib/liburing.a")
    (tmp_path / "root/usr/lib/liburing.so").symlink_to(of_this_system)
    assert library_of(Tree(tmp_path / "root", MACHINE, is_root=True)) == str(archive)


def test_a_loop_of_links_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/liburing.so").symlink_to("/lib/liburing.so")
    for is_root in (True, False):
        assert not Path(library_of(Tree(tmp_path, MACHINE, is_root=is_root))).is_file()


def test_a_header_that_is_no_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "include/liburing.h").mkdir(parents=True)
    (tmp_path / "include/libaio.h").symlink_to("libaio.h")
    tree = Tree(tmp_path, MACHINE, is_root=False)
    assert not tree.has_any(HEADERS)


def test_headers_are_named_where_they_are_or_where_they_should_be(tmp_path: Path) -> None:
    tree = Tree(tmp_path, MACHINE, is_root=False)
    put(tmp_path / "include" / MACHINE / "liburing.h")
    put(tmp_path / "include/sys/uio.h")
    include = tmp_path / "include"
    pinned = f"'libaio.h': '{include}/libaio.h', 'liburing.h': '{include}/{MACHINE}/liburing.h'"
    assert tree.paths(HEADERS, is_own=False) == f"paths = {{{pinned}}}\n"
    assert tree.paths(["sys/uio.h", "x.h"], is_own=True) == (
        f"paths = {{'sys/uio.h': '{include}/sys/uio.h', 'x.h': '{include}/x.h'}}\n"
    )


def test_what_a_sysroot_lacks_of_the_callers_table_is_left_to_the_compiler(tmp_path: Path) -> None:
    tree = Tree(tmp_path, MACHINE, is_root=True)
    found = put(tmp_path / "usr/include/x.h")
    assert tree.paths(["x.h", "stddef.h"], is_own=True) == f"paths = {{'x.h': '{found}'}}\n"
