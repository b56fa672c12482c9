"""Put into a repaired wheel the licences of the libraries that auditwheel has grafted into it.

Usage: wheel_licences.py WHEEL FOLDER

Writes the wheel to FOLDER, under its name. auditwheel's list of what it took (its SBOM) names
Debian's packages; their copyright files, as they are installed here, have the licences.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

DOC = Path("/usr/share/doc")
TEXTS = Path("/usr/share/common-licenses")
# Debian's names of licences, and those of SPDX.
SPDX = {"LGPL-2.1+": "LGPL-2.1-or-later", "MIT": "MIT", "Expat": "MIT"}
SOURCE = """\
{file} is the shared object of Debian's package {package} {version}; auditwheel gave it its name.
Its source is Debian's source package {source}, which is kept at
https://snapshot.debian.org/package/{place}/
It is linked dynamically: another build of it, put in its place under this name, is used instead.
"""


class Grafted(NamedTuple):
    """A library in the wheel, and the Debian package that it was taken from."""

    file: str
    package: str
    version: str


def grafted(unpacked: Path) -> list[Grafted]:
    """Give every library in the wheel *unpacked*, or end where one is of no package."""
    (sbom,) = unpacked.glob("*.dist-info/sboms/auditwheel.cdx.json")
    components = json.loads(sbom.read_text())["components"]
    versions = {
        component["name"]: component["version"]
        for component in components
        if component["purl"].startswith("pkg:deb/debian/")
    }
    found = []
    for path in sorted(unpacked.glob("*.libs/*")):
        library = path.name.partition("-")[0]
        packages = [name for name in versions if name.startswith(library)]
        if len(packages) != 1:
            sys.exit(
                f"{path.name}: its licence is not known: of Debian's packages auditwheel names "
                f"{packages or 'none'} for it; build on Debian, with the libraries that it packages"
            )
        found.append(Grafted(f"{path.parent.name}/{path.name}", packages[0], versions[packages[0]]))
    return found


def debian_licence(copyright_text: str) -> str:
    """Give the short name of the licence that the whole of a package is under.

    Source: the machine-readable debian/copyright, format 1.0.
    """
    for stanza in re.split(r"\n\s*\n", copyright_text):
        fields = dict(re.findall(r"^(\S+):((?:.*\n?)(?:[ \t].*\n?)*)", stanza, re.MULTILINE))
        if fields.get("Files", "").split() == ["*"]:
            return str(fields["License"]).split("\n")[0].strip()
    return ""


def add_licence(library: Grafted, licences: Path) -> str:
    """Write into *licences* what goes with *library*, and give the SPDX name of its licence."""
    folder = licences / library.package
    folder.mkdir(parents=True)
    shutil.copyfile(DOC / library.package / "copyright", folder / "copyright")
    name = debian_licence((folder / "copyright").read_text())
    if name not in SPDX:
        sys.exit(
            f"{library.package}: its licence {name!r} has no SPDX name in {Path(__file__).name}"
        )
    text = TEXTS / name.removesuffix("+")
    if text.exists():
        shutil.copyfile(text, folder / text.name)
    question = ["dpkg-query", "-W", "-f", "${source:Package} ${source:Version}", library.package]
    source = subprocess.run(question, capture_output=True, text=True, check=True).stdout
    words = SOURCE.format(**library._asdict(), source=source, place=source.replace(" ", "/"))
    (folder / "SOURCE").write_text(words)
    return SPDX[name]


def declare(metadata: Path, names: list[str], licences: Path) -> None:
    """Write the licences *names* and the files below *licences* into *metadata*."""
    text = metadata.read_text()
    ours = re.search(r"^License-Expression: (.*)$", text, re.MULTILINE)
    if ours is None or "License-File: LICENSE\n" not in text:
        sys.exit(f"{metadata.name} names no licence of fuaio: meson-python before 0.18 built it")
    expression = " AND ".join(dict.fromkeys([ours[1], *names]))
    files = sorted(path.relative_to(licences).as_posix() for path in licences.rglob("*/*"))
    text = text.replace(ours[0], f"License-Expression: {expression}")
    lines = "".join(f"License-File: {name}\n" for name in ["LICENSE", *files])
    metadata.write_text(text.replace("License-File: LICENSE\n", lines))


def wheel_command(*arguments: str | Path) -> None:
    """Run the tool that unpacks wheels and packs them, with their RECORD."""
    subprocess.run([sys.executable, "-m", "wheel", *arguments], check=True)


def main(wheel: str, folder: str) -> None:
    """Unpack, add, pack."""
    with TemporaryDirectory() as scratch:
        wheel_command("unpack", "--dest", scratch, wheel)
        (unpacked,) = Path(scratch).iterdir()
        (information,) = unpacked.glob("*.dist-info")
        licences = information / "licenses"
        names = [add_licence(library, licences) for library in grafted(unpacked)]
        declare(information / "METADATA", names, licences)
        Path(folder).mkdir(parents=True, exist_ok=True)
        wheel_command("pack", "--dest-dir", folder, unpacked)


if __name__ == "__main__":
    main(*sys.argv[1:])
