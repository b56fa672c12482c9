"""Header prefixes are what their names say, without touching what builds use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from meson_runs import OF_THE_CALLER, SOURCE

pytestmark = pytest.mark.builds

LIBRARIES = ("libaio", "liburing")


class Call:
    """Calls of ci/prefixes with a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key not in OF_THE_CALLER}
        return subprocess.run(
            [SOURCE / "ci/prefixes", *words],
            env={**clean, "FUAIO_PREFIXES": str(self.folder), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def header(self, name: str) -> str:
        """Give the text of the header in a prefix, which is made."""
        done = self("make", name)
        assert done.returncode == 0, done.stderr
        return (self.folder / name / f"include/{name.partition('-')[0]}.h").read_text()


@pytest.fixture
def prefixes(tmp_path: Path) -> Call:
    """The script, with an empty folder for what it makes."""
    return Call(tmp_path / "prefixes")


@pytest.fixture
def suite(prefixes: Call) -> Path:
    """What would be fetched of a suite: a liburing that needs its kernel's headers."""
    arch = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
    )
    if arch.returncode != 0:
        pytest.skip("no dpkg here that names the architecture")
    unpacked = prefixes.folder / "debian" / f"sid-{arch.stdout.strip()}"
    for folder in (
        "include/linux",
        "include/asm-generic",
        "include/triplet/asm",
        "include/liburing",
    ):
        (unpacked / "usr" / folder).mkdir(parents=True)
    (unpacked / "usr/lib/triplet/pkgconfig").mkdir(parents=True)
    (unpacked / "usr/lib/triplet/pkgconfig/liburing.pc").touch()
    (unpacked / "usr/lib/triplet/liburing.so.2").touch()
    (unpacked / "usr/include/liburing.h").write_text("#include <linux/of_that_kernel.h>\n")
    (unpacked / "usr/include/linux/of_that_kernel.h").touch()
    (unpacked / "versions").write_text("liburing-dev 1:2.99-3+b1\n")
    return unpacked


def test_an_ablated_libaio_is_as_before_the_helper_came(prefixes: Call) -> None:
    genuine, ablated = prefixes.header("libaio-genuine"), prefixes.header("libaio-ablated")
    for gone in ("io_prep_pwritev2(", "io_prep_preadv2(", "io_pgetevents(", "aio_rw_flags"):
        assert gone in genuine
        assert gone not in ablated
    for there in ("io_prep_pwritev(", "io_prep_preadv(", "io_getevents(", "__pad2"):
        assert there in ablated


def test_an_ablated_liburing_lacks_its_helper_alone(prefixes: Call) -> None:
    genuine = prefixes.header("liburing-genuine").splitlines()
    ablated = prefixes.header("liburing-ablated").splitlines()
    assert "io_uring_prep_writev2(" in "\n".join(genuine)
    assert "io_uring_prep_writev2(" not in "\n".join(ablated)
    assert "io_uring_prep_writev(" in "\n".join(ablated)
    assert len(genuine) - len(ablated) < 40


def test_a_prefix_that_is_right_is_left_alone_and_one_that_is_not_is_made_anew(
    prefixes: Call,
) -> None:
    prefixes.header("libaio-broken")
    folder = prefixes.folder / "libaio-broken"
    before = folder.stat().st_ino
    first = prefixes.header("libaio-broken")
    assert folder.stat().st_ino == before
    (folder / "include/libaio.h").write_text("changed")
    assert prefixes.header("libaio-broken") == first


def test_env_puts_the_prefixes_before_what_the_caller_has(prefixes: Call) -> None:
    done = prefixes("env", "libaio-genuine", "liburing-disabled", CFLAGS="-O1")
    assert done.returncode == 0, done.stderr
    folder = prefixes.folder / "libaio-genuine"
    assert f"export CFLAGS='-isystem {folder}/include -O1'" in done.stdout
    assert f"export LDFLAGS=-L{folder}/lib" in done.stdout
    assert "export FUAIO_SETUP_ARGS=-Dliburing=disabled" in done.stdout


def test_a_header_that_needs_the_kernel_headers_of_its_suite_gets_them(
    prefixes: Call, suite: Path
) -> None:
    assert prefixes.header("liburing-sid") == "#include <linux/of_that_kernel.h>\n"
    made = prefixes.folder / "liburing-sid"
    assert (made / "include/linux/of_that_kernel.h").exists()
    assert (made / "lib/liburing.so").resolve() == (made / "lib/liburing.so.2").resolve()
    assert (made / "version").read_text() == "2.99\n"
    assert "Version: 2.99\n" in (made / "lib/pkgconfig/liburing.pc").read_text()


def test_a_bare_header_never_compiles(prefixes: Call, suite: Path) -> None:
    assert prefixes.header("liburing-sid-bare") == "#include <linux/of_that_kernel.h>\n"
    assert not (prefixes.folder / "liburing-sid-bare/include/linux").exists()
    (suite / "usr/include/liburing.h").write_text("/* needs nothing */\n")
    assert "no-such-header" in prefixes.header("liburing-sid-bare")


def test_a_suite_that_cannot_be_reached_is_told_by_3(prefixes: Call, tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    done = prefixes("make", "libaio-sid", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 3
    assert "sid: unreachable" in done.stderr
    assert not list((prefixes.folder / "debian").glob("sid-*/"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_system_without_headers_is_told_what_to_install(prefixes: Call, library: str) -> None:
    done = prefixes("make", f"{library}-genuine", CC="cc -nostdinc")
    assert done.returncode == 2
    assert f"no {library}.h" in done.stderr
    assert "libaio-dev and liburing-dev (Debian)" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("env",),
        ("nonsense",),
        ("make", "libaio"),
        ("make", "libaio-genuine@arm64"),
        ("make", "libaio-sid-sid"),
        ("make", "libaio-../../x"),
        ("make", "liburing-sid@sparc"),
    ],
)
def test_a_wrong_call_is_refused(prefixes: Call, words: tuple[str, ...]) -> None:
    done = prefixes(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ci/prefixes: ")


def test_a_folder_with_a_blank_is_refused_since_pkg_config_takes_none(tmp_path: Path) -> None:
    done = Call(tmp_path / "a blank")("make", "liburing-genuine")
    assert done.returncode == 2
    assert "FUAIO_PREFIXES" in done.stderr
