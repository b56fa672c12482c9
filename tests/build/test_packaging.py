"""What is in a wheel and in an sdist, and that building them again gives the same."""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from meson_runs import SOURCE, copy_source, run, succeed
from needs import need_command
from wheels import build, contents, names_in, unpack

pytestmark = pytest.mark.builds

ROOMS = ("aio", "cli", "probe")
# What stands in files that an sdist must not take.
LEFT_THERE = "the owner's business"
# Run by the build, not by users.
OF_THE_BUILD = {"aio/emit_core.py"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, where builds leave nothing in the way of others."""
    return copy_source(tmp_path_factory.mktemp("copy") / "fuaio")


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with all defaults."""
    return build("wheel", source, tmp_path_factory.mktemp("wheels") / "first")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel's files were laid into."""
    return unpack(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of the whole source as one commit."""
    git = need_command("git", "git")
    folder = tmp_path_factory.mktemp("sdist")
    repository = folder / "repository"
    shutil.copytree(source, repository)
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    succeed(git, "init", "--quiet", cwd=repository)
    succeed(git, "add", "--all", "--force", cwd=repository)
    succeed(git, *identity, "commit", "--quiet", "--message=all", cwd=repository)
    # Not committed, so not a part of it.
    (repository / "build").mkdir(exist_ok=True)
    for name in ("build/left-over.o", "private-key"):
        (repository / name).write_text(LEFT_THERE)
    return build("sdist", repository, folder / "dist")


def the_probe() -> set[str]:
    """Give the installed names of the build probe's own files, with which scan asks."""
    symbols = SOURCE / "probe" / "symbols"
    files = {path.relative_to(SOURCE).as_posix() for path in symbols.rglob("*") if path.is_file()}
    return {f"fuaio/{name}" for name in (*files, "probe/symbols/meson_options.txt")}


def test_the_build_probe_is_installed_whole(wheel: Path) -> None:
    assert the_probe() <= names_in(wheel)
    assert len(the_probe()) > 6


def test_every_python_file_of_every_room_is_installed(wheel: Path) -> None:
    in_rooms = {
        path.relative_to(SOURCE).as_posix()
        for room in ROOMS
        for pattern in ("*.py", "*.pyi")
        for path in (SOURCE / room).rglob(pattern)
    }
    assert {f"fuaio/{name}" for name in in_rooms - OF_THE_BUILD} <= names_in(wheel)
    assert len(in_rooms) > 3 * len(OF_THE_BUILD)


def test_the_wheel_has_what_is_generated_and_nothing_of_the_tests(wheel: Path) -> None:
    names = names_in(wheel)
    generated = (
        "__init__.py",
        "py.typed",
        "aio/_core.abi3.so",
        "aio/_once.abi3.so",
        "aio/_pieces.abi3.so",
        "probe/_build.py",
    )
    assert {f"fuaio/{name}" for name in (*generated, "probe/build.json")} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("fuaio-0")} == {"fuaio"}
    of_the_package = {name for name in names if name.startswith("fuaio/")}
    endings = {Path(name).suffix for name in of_the_package - the_probe()}
    assert endings <= {".py", ".pyi", ".typed", ".json", ".so"}
    assert not [name for name in names if "test" in name or "mesonpy.libs" in name]


def test_the_wheel_is_for_this_python_and_all_newer_ones(wheel: Path) -> None:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-abi3-linux_"
    assert wheel.name.split("-", 2)[2].startswith(tag)


def test_the_wheel_says_what_it_is(installed: Path) -> None:
    (info,) = installed.glob("fuaio-*.dist-info")
    lines = (info / "METADATA").read_text().splitlines()
    assert "Name: fuaio" in lines
    assert "Requires-Python: >=3.11" in lines
    assert "License-Expression: MIT" in lines
    entry_points = (info / "entry_points.txt").read_text()
    assert "fuaio = fuaio.cli._entry:main" in entry_points.replace("=", " = ").replace("  ", " ")


def test_the_wheel_has_the_licence(installed: Path) -> None:
    if tuple(map(int, version("meson-python").split(".")[:2])) < (0, 18):
        pytest.skip("meson-python before 0.18 leaves the licence's file out")
    (licence,) = installed.glob("fuaio-*.dist-info/licenses/LICENSE")
    assert licence.read_text() == (SOURCE / "LICENSE").read_text()


def test_importing_the_face_imports_nothing_else(installed: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import fuaio\n"
        "print(*sorted(set(sys.modules) - before), fuaio.__version__)\n"
    )
    printed = succeed(sys.executable, "-S", "-c", code, env={"PYTHONPATH": str(installed)})
    (info,) = installed.glob("fuaio-*.dist-info")
    assert printed.split() == ["fuaio", info.name.split("-")[1].removesuffix(".dist")]


def test_python_and_json_say_the_same_about_the_build(installed: Path) -> None:
    module = ast.parse((installed / "fuaio/probe/_build.py").read_text())
    (assignment,) = (node for node in module.body if isinstance(node, ast.Assign))
    in_json = json.loads((installed / "fuaio/probe/build.json").read_text())
    assert ast.literal_eval(assignment.value) == in_json
    assert in_json["fuaio_version"] == "0.1.0"
    assert in_json["sections"]["build"]


def test_a_second_wheel_is_the_same_to_the_byte(source: Path, wheel: Path, tmp_path: Path) -> None:
    second = build("wheel", source, tmp_path / "second")
    assert second.read_bytes() == wheel.read_bytes()


def test_wheels_with_debug_information_are_the_same_in_a_fixed_build_folder(
    source: Path, tmp_path: Path
) -> None:
    built = []
    for name in ("first", "second"):
        shutil.rmtree(tmp_path / "fixed", ignore_errors=True)
        built.append(
            build(
                "wheel",
                source,
                tmp_path / name,
                settings={"build-dir": str(tmp_path / "fixed")},
                env={"CFLAGS": "-g"},
            ).read_bytes()
        )
    assert built[0] == built[1]


def test_the_sdist_has_the_whole_source(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        *("meson.build", "meson_options.txt", "pyproject.toml", "face.py.in", "py.typed"),
        *("LICENSE", "README.md", "PKG-INFO", "probe/symbols/meson.build", "aio/core.cdef"),
        *("tests/conftest.py", "tests/build/test_packaging.py", "ci/prefixes"),
    } <= packed
    assert not [name for name in packed if name.endswith((".so", ".o", ".pyc", ".i"))]


def test_the_sdist_has_nothing_of_the_machine_that_made_it(sdist: Path) -> None:
    here = (str(sdist.parents[1]), str(SOURCE), LEFT_THERE)
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
        texts = {
            member.name: stream.read().decode(errors="replace")
            for member in members
            if (stream := archive.extractfile(member)) is not None
        }
    assert not [name for name in texts if name.endswith(("left-over.o", "private-key"))]
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    found = {Path(name).name for name, text in texts.items() for words in here if words in text}
    assert found == {Path(__file__).name}  # it says what it looks for


def test_the_sdist_builds_the_same_wheel_where_there_is_no_git(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    # Not by tarfile, whose filters Python 3.11 has since 3.11.4 only, and 3.12 asks for.
    succeed("tar", "-xzf", sdist, "-C", tmp_path)
    (unpacked,) = tmp_path.glob("fuaio-*")
    assert not (unpacked / ".git").exists()
    assert contents(build("wheel", unpacked, tmp_path / "wheels")) == contents(wheel)


def test_an_editable_install_runs_the_source(source: Path, tmp_path: Path) -> None:
    editable = build("editable", source, tmp_path / "wheels")
    site = unpack(editable, tmp_path / "site")
    code = (
        f"import site; site.addsitedir({str(site)!r})\n"
        "import fuaio.probe, fuaio.aio\n"
        "print(fuaio.probe.__file__); print(fuaio.aio.laio_has_fua())\n"
    )
    # -S and first: the tests may run on an editable install, whose finder has the same name.
    environment = {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    result = run(sys.executable, "-S", "-c", code, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stdout
    assert result.stdout.split()[-2:] == [str(source / "probe" / "__init__.py"), "True"]
