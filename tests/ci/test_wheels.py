"""The wheel that `ci/wheels` makes for PyPI: what it brings, and what is refused."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fuaio.probe._elf import read_shared_object

CI = Path(__file__).parents[2] / "ci"
# The library, Debian's package of it, and what its licence begins with.
LIBRARIES = {
    "libaio": ("libaio1", b"GNU LESSER GENERAL PUBLIC LICENSE"),
    "liburing": ("liburing2", b"Permission is hereby granted, free of charge"),
}


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that was made."""
    if "FUAIO_WHEEL" not in os.environ:
        pytest.skip("FUAIO_WHEEL names no wheel; `ci/wheels try` sets it")
    return Path(os.environ["FUAIO_WHEEL"])


@pytest.fixture(scope="module")
def files(wheel: Path) -> dict[str, bytes]:
    """What is in it, without the version in the name of its metadata's folder."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            re.sub(r"^fuaio-[^/]*\.dist-info/", "dist-info/", name): archive.read(name)
            for name in archive.namelist()
            if not name.endswith("/")
        }


def grafted(files: dict[str, bytes], library: str) -> str:
    """Give the name of the copy of *library*."""
    (name,) = (name for name in files if name.startswith(f"fuaio.libs/{library}-"))
    return name.removeprefix("fuaio.libs/")


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_core_needs_a_copy_whose_name_is_the_wheels_alone(
    files: dict[str, bytes], library: str, tmp_path: Path
) -> None:
    name = grafted(files, library)
    assert re.fullmatch(library + r"-[0-9a-f]{8,}\.so\.[0-9.]+", name)
    (core,) = (path for path in files if re.match(r"fuaio/aio/_core\..*so$", path))
    for path, file in ((core, "core"), (f"fuaio.libs/{name}", "copy")):
        (tmp_path / file).write_bytes(files[path])
    needed = read_shared_object(tmp_path / "core").needed
    assert [soname for soname in needed if soname.startswith(library)] == [name]
    assert read_shared_object(tmp_path / "copy").soname == name


def test_nothing_else_was_grafted(files: dict[str, bytes]) -> None:
    found = [name for name in files if name.startswith("fuaio.libs/")]
    assert sorted(found) == sorted(f"fuaio.libs/{grafted(files, name)}" for name in LIBRARIES)


@pytest.mark.parametrize("library", LIBRARIES)
def test_it_carries_the_licence_of_each_library_and_says_where_its_source_is(
    files: dict[str, bytes], library: str
) -> None:
    package, text = LIBRARIES[library]
    folder = f"dist-info/licenses/{package}/"
    carried = {name: files[name] for name in files if name.startswith(folder)}
    assert any(text in content for content in carried.values())
    assert b"Copyright" in carried[folder + "copyright"]
    assert grafted(files, library).encode() in carried[folder + "SOURCE"]
    assert f"/package/{library}/".encode() in carried[folder + "SOURCE"]


def test_its_metadata_names_every_licence_that_it_carries(files: dict[str, bytes]) -> None:
    metadata = email.message_from_bytes(files["dist-info/METADATA"])
    assert metadata["License-Expression"] == "MIT AND LGPL-2.1-or-later"
    named = {f"dist-info/licenses/{name}" for name in metadata.get_all("License-File", [])}
    assert named == {name for name in files if name.startswith("dist-info/licenses/")}
    assert files["dist-info/licenses/LICENSE"] == (CI.parent / "LICENSE").read_bytes()


def test_its_bill_of_materials_names_the_packages_of_debian(files: dict[str, bytes]) -> None:
    bill = json.loads(files["dist-info/sboms/auditwheel.cdx.json"])
    names = {component["name"] for component in bill["components"]}
    assert names == {"fuaio", *(package for package, _ in LIBRARIES.values())}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.usefixtures("wheel")
def test_a_wheel_that_would_lack_a_helper_is_not_made(tmp_path: Path, library: str) -> None:
    build = 'eval "$("$1/prefixes" env "$2-ablated")" && exec "$1/wheels" build'
    done = subprocess.run(
        ["bash", "-ec", build, "build", CI, library],
        env={**os.environ, "FUAIO_WHEELS": str(tmp_path / "wheels")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"require_fua={library}: no FUA through {library} (symbol-missing)" in done.stdout
    assert not [*tmp_path.rglob("*.whl")]


def test_a_grafted_library_of_no_known_package_is_refused(wheel: Path, tmp_path: Path) -> None:
    strange = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(strange, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/RECORD"):
                content = content.replace(b"/libaio-", b"/libstrange-")
            new.writestr(name.replace("/libaio-", "/libstrange-"), content)
    done = subprocess.run(
        [sys.executable, CI / "wheel_licences.py", strange, tmp_path / "dist"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "libstrange-" in done.stderr
    assert "its licence is not known" in done.stderr
    assert not (tmp_path / "dist").exists()
