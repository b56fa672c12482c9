"""The library section: what is loaded, and what it says of itself."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import fuaio
from fuaio.probe import Fact, decode_report, gather
from fuaio.probe._proc import under

Tree = Callable[[Mapping[str, str]], Path]
LIBRARIES = ("libaio", "liburing")
MAPS = """\
7f0e00000000-7f0e00001000 r-xp 00000000 fe:00 11                         /usr/lib/libc.so.6
7f0e00001000-7f0e00002000 r--p 00000000 fe:00 12                         /a b/{name}
7f0e00002000-7f0e00003000 rw-p 00000000 00:00 0
"""


def library(root: Path = Path("/")) -> dict[str, Fact]:
    """Return the facts of the library section by name."""
    return {fact.name: fact for fact in gather(["library"], root).sections["library"]}


def a_loaded_file(name: str) -> Path:
    """Return the shared object of *name* that is loaded here, or skip."""
    fact = library()[f"{name}_file"]
    if not isinstance(fact.value, str):
        pytest.skip(f"this build has not loaded {name}: {fact.reason}")
    return Path(fact.value)


@pytest.mark.combination
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_is_loaded_exactly_where_it_was_built_in(name: str) -> None:
    is_built = gather(["build"]).facts()["build", name].state == "yes"
    fact = library()[f"{name}_file"]
    if is_built:
        assert isinstance(fact.value, str)
        assert Path(fact.value).is_file()
    else:
        assert (fact.state, fact.reason) == ("unknown", "not-loaded")


@pytest.mark.parametrize("name", LIBRARIES)
def test_soname_and_versions_are_those_that_readelf_shows(name: str) -> None:
    path = a_loaded_file(name)
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no command readelf (Debian: binutils)")
    shown = subprocess.run([readelf, "-dVW", path], capture_output=True, text=True, check=True)
    facts = library()
    assert f"soname: [{facts[f'{name}_soname'].value}]" in shown.stdout
    nodes = re.findall(r"Name: (?:LIBAIO|LIBURING)_([0-9.]+)", shown.stdout)
    if name == "liburing":
        newest = max(nodes, key=lambda node: tuple(map(int, node.split("."))))
        assert facts["liburing_version"].value == f">={newest}"
    else:
        assert facts["libaio_version"].value == (">=0.3.112" if "0.5" in nodes else "<0.3.112")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("form", ["{}.so", "{}.so.2", "{}-1b2c3d4e.so.1.0.2"])
def test_a_library_is_found_under_the_name_that_auditwheel_gives_it(
    tree: Tree, name: str, form: str
) -> None:
    file = form.format(name)
    root = tree({"/proc/self/maps": MAPS.format(name=file), f"/a b/{file}": ""})
    assert library(root)[f"{name}_file"].value == f"/a b/{file}"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_copy_that_came_with_the_package_says_that_the_headers_are_the_wheels(
    tree: Tree, name: str
) -> None:
    beside = Path(fuaio.__file__).resolve().parents[1] / "fuaio.libs"
    maps = MAPS.format(name=f"{name}-1b2c3d4e.so.2").replace("/a b", str(beside))
    fact = library(tree({"/proc/self/maps": maps}))[f"{name}_origin"]
    assert (fact.state, fact.value) == ("yes", "wheel")
    assert "the headers that the wheel was built with" in fact.detail


@pytest.mark.parametrize("folder", ["/usr/lib", "/opt/other.libs", "/opt/fuaio.libs"])
def test_a_library_from_anywhere_else_is_the_systems(tree: Tree, folder: str) -> None:
    maps = MAPS.format(name="libaio-1b2c3d4e.so.1").replace("/a b", folder)
    fact = library(tree({"/proc/self/maps": maps}))["libaio_origin"]
    assert (fact.state, fact.value, fact.detail) == ("yes", "system", "")


@pytest.mark.parametrize("name", LIBRARIES)
def test_of_two_that_are_loaded_the_one_that_the_core_is_linked_with_is_told(
    tree: Tree, name: str
) -> None:
    content = a_loaded_file(name).read_bytes()
    soname = str(library()[f"{name}_soname"].value).encode()
    foreign, ours = f"/foreign/{name}.so.0", f"/ours/{name}.so.0"
    maps = "".join(MAPS.format(name="").replace("/a b/", path) for path in (foreign, ours))
    root = tree({"/proc/self/maps": maps, foreign: "", ours: ""})
    under(root, foreign).write_bytes(content.replace(soname, soname[:-1] + b"x"))
    assert library(root)[f"{name}_file"].value == foreign, "ours cannot be read: the first"
    under(root, ours).write_bytes(content)
    assert library(root)[f"{name}_file"].value == ours


@pytest.mark.parametrize("file", ["libaio.txt", "notlibaio.so.1", "libaiofoo.so"])
def test_another_file_of_a_similar_name_is_not_taken_for_it(tree: Tree, file: str) -> None:
    facts = library(tree({"/proc/self/maps": MAPS.format(name=file)}))
    assert (facts["libaio_file"].state, facts["libaio_file"].reason) == ("unknown", "not-loaded")


def test_a_library_replaced_since_it_was_loaded_is_told_as_deleted(tree: Tree) -> None:
    facts = library(tree({"/proc/self/maps": MAPS.format(name="libaio.so.1 (deleted)")}))
    assert facts["libaio_file"].value == "/a b/libaio.so.1"
    assert (facts["libaio_soname"].state, facts["libaio_soname"].reason) == ("unknown", "deleted")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("keep", [0, 5, 40, 63, 100, 300, 900])
def test_a_damaged_shared_object_is_an_answer(tree: Tree, name: str, keep: int) -> None:
    whole = a_loaded_file(name).read_bytes()
    root = tree({"/proc/self/maps": MAPS.format(name=f"{name}.so"), f"/a b/{name}.so": ""})
    (root / "a b" / f"{name}.so").write_bytes(whole[:keep])
    fact = library(root)[f"{name}_soname"]
    assert (fact.state, fact.reason) == ("unknown", "not-readable")
    assert "ELF" in fact.detail or "no dynamic strings" in fact.detail


# Anywhere, or large numbers in the ELF header and the program headers.
damages = st.lists(
    st.tuples(st.integers(0, 20_000), st.sampled_from([0, 1, 0x7F, 0xFF]) | st.integers(0, 255))
    | st.tuples(st.integers(32, 700), st.just(0xFF)),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages, st.integers(0, 20_000))
def test_any_damage_to_a_shared_object_is_an_answer_and_no_crash(
    tmp_path: Path, damage: list[tuple[int, int]], keep: int
) -> None:
    content = bytearray(a_loaded_file("libaio").read_bytes()[: keep or None])
    for at, byte in damage:
        if at < len(content):
            content[at] = byte
    (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
    (tmp_path / "proc/self/maps").write_text(MAPS.format(name="libaio.so"))
    (tmp_path / "a b").mkdir(exist_ok=True)
    (tmp_path / "a b/libaio.so").write_bytes(content)
    facts = library(tmp_path)
    assert facts["libaio_file"].state == "yes"
    assert facts["libaio_soname"].reason in ("not-readable", "not-there", "ok")


def test_a_false_count_of_versions_is_not_believed(tree: Tree) -> None:
    whole = bytearray(a_loaded_file("libaio").read_bytes())
    dt_verdefnum = whole.index(struct.pack("<Q", 0x6FFFFFFD))
    struct.pack_into("<Q", whole, dt_verdefnum + 8, 1 << 60)
    root = tree({"/proc/self/maps": MAPS.format(name="libaio.so"), "/a b/libaio.so": ""})
    (root / "a b/libaio.so").write_bytes(whole)
    assert library(root)["libaio_version"] == replace(
        library()["libaio_version"], source="/a b/libaio.so"
    )


def test_without_maps_nothing_is_guessed(tree: Tree) -> None:
    fact = library(tree({}))["libaio_file"]
    assert (fact.state, fact.reason, fact.source) == ("unknown", "not-there", "/proc/self/maps")


BREAK_THE_CORE = """
import importlib.util, sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "fuaio.aio._core":
            if not sys.argv[1]:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return importlib.util.spec_from_file_location(name, sys.argv[1])

sys.meta_path.insert(0, Broken())
import fuaio.probe
sys.stdout.buffer.write(fuaio.probe.encode_report(fuaio.probe.gather()))
"""


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF\x02\x01\x01" + bytes(57), b"no ELF"])
def test_a_core_that_cannot_be_loaded_leaves_a_whole_report(
    tmp_path: Path, content: bytes | None
) -> None:
    broken = tmp_path / "_core.abi3.so"
    if content is not None:
        broken.write_bytes(content)
    argument = "" if content is None else str(broken)
    done = subprocess.run(
        [sys.executable, "-c", BREAK_THE_CORE, argument], capture_output=True, check=True
    )
    report = decode_report(done.stdout)
    facts = report.facts()
    assert report.sections.keys() == {"build", "library", "kernel", "policy"}
    assert (facts["library", "core"].state, facts["library", "core"].reason) == (
        "no",
        "import-failed",
    )
    assert "_core" in facts["library", "core"].detail
    for key in (("library", "libaio_file"), ("kernel", "io_uring"), ("kernel", "threads_errno")):
        assert (facts[key].state, facts[key].reason) == ("unknown", "core-not-loaded")
    assert facts["policy", "aio_max_nr"].state == "yes"
    assert facts["build", "laio_has_fua"] == gather(["build"]).facts()["build", "laio_has_fua"]
