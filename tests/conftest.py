"""Fixtures and rules common to the tests of all rooms; docs/testing.md tells about them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

# Helpers that tests import by name; the tests themselves are no packages.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from machine_lock import folder, machine_lock
from needs import ENGINES, missing, need_engine, need_root

pytest_plugins = ["fixtures_root"]

# A slow machine is no failure; in CI every run tries the same examples.
settings.register_profile(
    "fuaio", deadline=None, derandomize="CI" in os.environ, database=None, print_blob=True
)
settings.load_profile("fuaio")

# As stat names those that aio/file.c knows. On others, overlayfs among them, one write at a time is
# in flight, and a test that holds one back would wait for the next for ever; tmpfs keeps nothing.
ON_DISK = ("ext2/ext3", "xfs", "btrfs")


def pytest_configure(config: pytest.Config) -> None:
    """Print every skip with its reason, whatever options pytest was called with."""
    # Whoever starts the tests in the background ignores SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "s" not in config.option.reportchars:
        config.option.reportchars += "s"


def pytest_report_header() -> str:
    """Say whether other runs on this machine are kept from disturbing this one."""
    return f"machine's lock: {machine_lock.why_not or folder()}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that changes a sysctl runs alone, all others together, on the whole machine.

    First of all hooks: what is waited for here is no time of the test's, so that it fails no limit.
    """
    if item.get_closest_marker("builds") is not None:
        return (yield)
    fixtures = getattr(item, "fixturenames", ())
    with machine_lock.held(exclusive="sysctl" in fixtures):
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked root runs as root only."""
    if item.get_closest_marker("root") is not None:
        need_root()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn; one that is missing is skipped, or fails where it is required."""
    name = str(request.param)
    need_engine(name)
    return name


@pytest.fixture
def each_available_engine() -> tuple[str, ...]:
    """The engines that work here, best first, for a test that uses them together."""
    from fuaio.aio import available

    return tuple(available().engines)


def _takes_direct(folder: Path) -> bool:
    """Whether *folder* is on a disk whose file system takes O_DIRECT."""
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True
    ).stdout.strip()
    if kind not in ON_DISK:
        return False
    path = folder / "direct"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    os.close(descriptor)
    return True


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on a file system that lies on a disk and takes O_DIRECT."""
    if _takes_direct(tmp_path):
        yield tmp_path
        return
    for parent in (os.environ.get("FUAIO_SCRATCH"), "/var/tmp", Path.cwd()):
        if parent is None or not os.access(parent, os.W_OK):
            continue
        with TemporaryDirectory(dir=parent, prefix="fuaio-test-") as folder:
            if _takes_direct(Path(folder)):
                yield Path(folder)
                return
    required = os.environ.get("FUAIO_REQUIRE_DIRECT") == "1"
    missing(
        "no folder on ext4, XFS or btrfs takes O_DIRECT; FUAIO_SCRATCH may name one",
        required=required,
    )
