"""`open_file`: modes, descriptors, engines, and what a refusal leaves behind."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from block_devices import mounted
from core_files import BLOCK, block, make
from faults_table import FAIL, SETUP, Faults
from life_files import aio_contexts, descriptors
from memory_file import memory_file

from fuaio.aio import EngineUnavailableError, File, available, luring_has_fua, open_file

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
READABLE = ["r", "rb", "r+", "r+b", "rb+"]
F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2  # Linux uapi/linux/fcntl.h; fcntl has them since 3.12 only


@pytest.mark.parametrize("mode", READABLE)
def test_a_reading_mode_reads_and_leaves_the_content(scratch: Path, engine: str, mode: str) -> None:
    (scratch / "file").write_bytes(b"content")
    with open_file(scratch / "file", mode, engine=engine) as file:
        assert file.pread(7, 0) == b"content"
        assert file.engine == engine
    assert (scratch / "file").read_bytes() == b"content"


@DIRECT
@pytest.mark.parametrize("mode", ["w+", "w+b", "wb+"])
def test_w_plus_empties_a_file_and_creates_one_that_is_missing(
    scratch: Path, engine: str, mode: str, direct: bool
) -> None:
    (scratch / "old").write_bytes(b"content")
    for name in ("old", "new"):
        with open_file(scratch / name, mode, engine=engine, direct=direct) as file:
            assert file.size == 0
            file.pwrite(block(1), 0)
            assert file.pread(BLOCK, 0) == block(1)


@DIRECT
def test_x_plus_creates_a_file_and_refuses_one_that_is_there(
    scratch: Path, engine: str, direct: bool
) -> None:
    with open_file(scratch / "file", "x+", engine=engine, direct=direct) as file:
        file.pwrite(block(1), 0)
    with pytest.raises(FileExistsError):
        open_file(scratch / "file", "x+", engine=engine, direct=direct)
    assert (scratch / "file").read_bytes() == block(1)


def test_a_created_file_has_the_permissions_of_an_ordinary_one(scratch: Path) -> None:
    (scratch / "ordinary").touch()
    for direct in (False, True):
        open_file(scratch / f"ours-{direct}", "x+", direct=direct).close()
        ours, ordinary = scratch / f"ours-{direct}", scratch / "ordinary"
        assert ours.stat().st_mode == ordinary.stat().st_mode


def test_a_path_may_be_text_bytes_or_a_path_and_may_be_relative(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scratch)
    open_file("file", "x+").close()
    for path in ("file", b"file", Path("file"), os.fsencode(scratch / "file")):
        with open_file(path) as file:
            assert file.size == 0


@pytest.mark.parametrize("mode", ["w+", "x+"])
@pytest.mark.parametrize("through_link", [False, True], ids=["named", "by a link"])
def test_a_mode_that_creates_syncs_the_file_and_then_its_folder(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, mode: str, through_link: bool
) -> None:
    folder = scratch / "folder"
    folder.mkdir()
    if through_link:
        (scratch / "link").symlink_to(folder)
    synced = []

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", note)
    open_file(scratch / ("link" if through_link else "folder") / "file", mode).close()
    assert synced == [str(folder / "file"), str(folder)]


@pytest.mark.strace
def test_the_kernel_sees_both_syncs_before_the_open_returns(scratch: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no command strace (Debian: strace)")
    program = (
        "import os, sys; from fuaio.aio import open_file; "
        "f = open_file(sys.argv[1], 'w+', engine='threads'); os.stat('/opened')"
    )
    seen = scratch / "seen"
    subprocess.run(
        [strace, "-f", "-y", "-o", seen, "-e", "trace=fsync,ftruncate,/stat",
         sys.executable, "-W", "ignore", "-c", f"{program}", scratch / "file"],
        check=False, capture_output=True,
    )  # fmt: skip
    text = seen.read_text()
    truncated = text.index(f"{scratch / 'file'}>, 0)")
    file_synced = text.index(f"{scratch / 'file'}>) ", truncated + 1)
    folder_synced = text.index(f"{scratch}>) ", file_synced)
    assert truncated < file_synced < folder_synced < text.index('"/opened"')


@pytest.mark.parametrize("mode", ["a", "a+", "ab", "ab+", "r+a"])
def test_an_appending_mode_is_refused_with_what_to_do_instead(scratch: Path, mode: str) -> None:
    with pytest.raises(ValueError, match=r"append.*File\.size"):
        open_file(scratch / "file", mode)
    assert not (scratch / "file").exists()


@pytest.mark.parametrize("mode", ["", "w", "x", "rw", "rt", "U", "r++", "rbb"])
def test_a_mode_that_is_not_ours_is_refused_with_those_that_are(scratch: Path, mode: str) -> None:
    make(scratch / "file")
    with pytest.raises(ValueError, match=r"not one of r, r\+, w\+, x\+"):
        open_file(scratch / "file", mode)
    assert (scratch / "file").stat().st_size == 64 * BLOCK


@pytest.mark.parametrize("mode", ["w+", "x+"])
@pytest.mark.parametrize(
    "options",
    [
        {"engine": "aio"},
        {"depth": 0},
        {"depth": 32768},
        {"depth": "4"},
        {"depth": 1.5},
    ],
)
def test_a_wrong_argument_leaves_nothing_created(
    scratch: Path, mode: str, options: dict[str, int | str | float]
) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        open_file(scratch / "file", mode, **options)  # type: ignore[arg-type] # a mix of types
    assert list(scratch.iterdir()) == []


def test_an_unknown_engine_is_refused_with_the_names_of_those_there_are(scratch: Path) -> None:
    with pytest.raises(ValueError, match="'aio' is not one of auto, io_uring, linux_aio, threads"):
        open_file(make(scratch / "file"), engine="aio")


def test_the_deepest_queue_and_the_shallowest_both_write(scratch: Path, engine: str) -> None:
    make(scratch / "file")
    for depth in (1, 32767):
        try:
            file = open_file(scratch / "file", "r+", engine=engine, depth=depth)
        except EngineUnavailableError as error:
            if depth == 1 or error.cause != "limit":
                raise
            continue  # what is left of the system's contexts, or of a user's memory
        with file:
            assert file.pwrite(b"x", 0, fua=True) == 1


@pytest.mark.parametrize(("mode", "flags"), [("r", os.O_RDONLY), ("r+", os.O_RDWR)])
def test_a_descriptor_is_duplicated_and_stays_the_callers(
    scratch: Path, engine: str, mode: str, flags: int
) -> None:
    theirs = os.open(make(scratch / "file"), flags)
    try:
        with open_file(theirs, mode, engine=engine) as file:
            assert file.fileno() != theirs
            assert not os.get_inheritable(file.fileno())
            assert file.pread(1, 0) == b"\0"
        assert os.pread(theirs, 1, 0) == b"\0"
    finally:
        os.close(theirs)


@pytest.mark.parametrize(
    ("flags", "mode", "direct", "why"),
    [
        (os.O_RDWR | os.O_APPEND, "r+", False, "has O_APPEND"),
        (os.O_RDWR | os.O_APPEND, "r", False, "has O_APPEND"),
        (os.O_RDONLY, "r+", False, "not opened for what the mode asks"),
        (os.O_WRONLY, "r", False, "not opened for what the mode asks"),
        (os.O_WRONLY, "r+", False, "not opened for what the mode asks"),
        (os.O_RDWR, "r+", True, "without O_DIRECT; say direct=False"),
        (os.O_RDWR | os.O_DIRECT, "r+", False, "with O_DIRECT; say direct=True"),
        (os.O_RDWR, "w+", False, "open already"),
        (os.O_RDWR, "x+", False, "open already"),
    ],
)
def test_a_descriptor_that_does_not_fit_is_refused_with_the_reason(
    scratch: Path, flags: int, mode: str, direct: bool, why: str
) -> None:
    theirs = os.open(make(scratch / "file"), flags)
    before = descriptors()
    try:
        with pytest.raises(ValueError, match=why):
            open_file(theirs, mode, direct=direct)
        assert descriptors() == before
    finally:
        os.close(theirs)


def test_a_descriptor_that_is_not_open_is_refused_by_the_kernel() -> None:
    free = os.open("/", os.O_RDONLY)
    os.close(free)
    with pytest.raises(OSError) as caught:
        open_file(free)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(ValueError, match="negative"):
        open_file(-1)


@DIRECT
def test_a_descriptor_with_the_same_flags_is_taken(
    scratch: Path, engine: str, direct: bool
) -> None:
    flags = os.O_RDWR | (os.O_DIRECT if direct else 0)
    theirs = os.open(make(scratch / "file"), flags)
    try:
        with open_file(theirs, "r+", engine=engine, direct=direct) as file:
            file.pwrite(block(1), 0, fua=True)
            assert file.pread(BLOCK, 0) == block(1)
    finally:
        os.close(theirs)


def make_missing(path: Path) -> None:
    """Nothing: that is how it is missing."""


@pytest.mark.parametrize(
    ("made", "mode", "answer"),
    [
        (make_missing, "r", errno.ENOENT),
        (make_missing, "r+", errno.ENOENT),
        (Path.mkdir, "r", errno.EISDIR),
        (Path.mkdir, "r+", errno.EISDIR),
        (Path.mkdir, "w+", errno.EISDIR),
        (Path.mkdir, "x+", errno.EEXIST),
        (os.mkfifo, "r", errno.ESPIPE),
        (os.mkfifo, "r+", errno.ESPIPE),
        (os.mkfifo, "w+", errno.ESPIPE),
    ],
)
def test_what_is_no_file_is_refused_at_once_with_the_kernels_errno(
    scratch: Path, made: Callable[[Path], object], mode: str, answer: int
) -> None:
    made(scratch / "thing")
    listed, before = list(scratch.iterdir()), descriptors()
    with pytest.raises(OSError) as caught:
        open_file(scratch / "thing", mode)
    assert caught.value.errno == answer
    assert caught.value.filename == str(scratch / "thing")
    assert (list(scratch.iterdir()), descriptors()) == (listed, before)


def test_a_character_device_and_a_pipe_are_neither_file_nor_block_device() -> None:
    reading, writing = os.pipe()
    try:
        for thing in ("/dev/null", reading):
            with pytest.raises(OSError, match="neither a regular file nor a block device"):
                open_file(thing)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_an_engine_that_is_refused_leaves_nothing_created_or_emptied(
    scratch: Path, faults: Faults, mode: str
) -> None:
    if "linux_aio" not in available().engines:
        pytest.skip("linux_aio is not available, and threads cannot be refused")
    (scratch / "old").write_bytes(b"content")
    before = descriptors()
    faults.rule(SETUP, FAIL, -errno.EAGAIN, times=-1)
    for name in ("old", "new"):
        expected = FileExistsError if (name, mode) == ("old", "x+") else EngineUnavailableError
        with pytest.raises(expected):
            open_file(scratch / name, mode, engine="linux_aio")
    assert [path.name for path in scratch.iterdir()] == ["old"]
    assert (scratch / "old").read_bytes() == b"content"
    assert descriptors() == before


def test_a_refused_engine_says_which_and_why(scratch: Path, faults: Faults) -> None:
    for engine in ("io_uring", "linux_aio"):
        if engine not in available().engines:
            pytest.skip(f"{engine} is not available")
        faults.rule(SETUP, FAIL, -errno.ENOMEM, times=-1)
        with pytest.raises(EngineUnavailableError, match=f"{engine}: .*ENOMEM.*depth") as caught:
            open_file(make(scratch / "file"), engine=engine)
        assert (caught.value.engine, caught.value.cause) == (engine, "limit")
        assert caught.value.errno == errno.ENOMEM
        faults.forget_rules()


def test_a_file_that_cannot_be_emptied_leaves_no_descriptor_or_context(engine: str) -> None:
    theirs = memory_file(sealable=True)
    try:
        os.write(theirs, b"content")
        fcntl.fcntl(theirs, F_ADD_SEALS, F_SEAL_SHRINK)
        before = descriptors(), aio_contexts()
        for _ in range(3):
            with pytest.raises(PermissionError):
                open_file(f"/proc/self/fd/{theirs}", "w+", engine=engine)
        assert os.pread(theirs, 7, 0) == b"content"
        assert (descriptors(), aio_contexts()) == before
    finally:
        os.close(theirs)


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_a_file_that_cannot_be_synced_is_taken_away_again(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, engine: str, mode: str
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = descriptors()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) as caught:
        open_file(scratch / "file", mode, engine=engine)
    assert caught.value.errno == errno.EIO
    assert list(scratch.iterdir()) == []
    assert descriptors() == before


@pytest.mark.root
@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_a_file_system_without_o_direct_is_refused_and_keeps_no_file(
    scratch: Path, mode: str
) -> None:
    with mounted("ramfs", "ramfs", scratch / "memory") as folder:
        with pytest.raises(OSError, match="no O_DIRECT; open it with direct=False") as caught:
            open_file(folder / "file", mode, direct=True)
        assert caught.value.errno == errno.EINVAL
        assert list(folder.iterdir()) == []


def test_auto_takes_the_first_engine_that_suits_and_logs_which(
    scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="fuaio")
    with open_file(make(scratch / "file"), "r+", direct=True) as file:
        assert file.engine == available().engines[0]
        assert f"engine {file.engine}" in caplog.text
    assert {record.name for record in caplog.records} == {"fuaio"}


def test_auto_never_takes_linux_aio_for_a_buffered_file(scratch: Path, faults: Faults) -> None:
    path = make(scratch / "file")
    # With io_uring refused, Linux AIO would be next.
    faults.rule(SETUP, FAIL, -errno.EPERM, times=-1)
    with open_file(path, "r+") as file:
        assert file.engine == "threads"
        assert file.pwrite(b"x", 0, fua=True) == 1


def test_auto_logs_why_an_engine_was_not_taken(
    scratch: Path, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    if not (luring_has_fua() and "io_uring" in available().engines):
        pytest.skip("io_uring, or its helper, is not there, and it is not the first to be tried")
    path = make(scratch / "file")
    caplog.set_level(logging.DEBUG, logger="fuaio")
    faults.rule(SETUP, FAIL, -errno.ENOMEM, times=-1)
    open_file(path).close()
    assert "not io_uring: io_uring_setup: ENOMEM: " in caplog.text


def test_a_named_engine_is_had_also_for_a_buffered_file(scratch: Path, engine: str) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        assert isinstance(file, File)
        assert file.engine == engine
