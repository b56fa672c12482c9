"""`File`: reads, writes and flushes, and what it says of itself and of what goes wrong."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from block_devices import mounted
from core_files import BLOCK, DSYNC, block, make
from faults_table import FLUSH, WRITE, Faults
from fixtures_root import FileSystems, LoopDevices
from life_files import descriptors
from memory_file import memory_file

from fuaio.aio import (
    ClosedError,
    File,
    Fua,
    _open,
    aligned_buffer,
    laio_has_fua,
    luring_has_fua,
    open_file,
)

if TYPE_CHECKING:
    from fuaio.aio._core import CData

DIRECT = pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])


def helper_is_there(engine: str) -> bool:
    """Whether this build can ask for FUA through *engine*."""
    return {"linux_aio": laio_has_fua(), "io_uring": luring_has_fua(), "threads": True}[engine]


# ---- reading and writing ----


@pytest.mark.combination
@DIRECT
@pytest.mark.parametrize("fua", [False, True], ids=["plain", "fua"])
def test_what_is_written_reads_back_on_each_engine(
    scratch: Path, engine: str, direct: bool, fua: bool
) -> None:
    path = make(scratch / "file")
    with open_file(path, "r+", engine=engine, direct=direct) as file:
        assert file.pwrite(block(1), BLOCK, fua=fua) == BLOCK
        assert file.pwritev([block(2), block(3)], 2 * BLOCK, fua=fua) == 2 * BLOCK
        into = memoryview(aligned_buffer(3 * BLOCK))
        assert file.pread_into(into, BLOCK) == 3 * BLOCK
        assert into == b"".join([block(1), block(2), block(3)])
        assert file.pread(BLOCK, 2 * BLOCK) == block(2)
        parts = [memoryview(aligned_buffer(BLOCK)) for _ in range(2)]
        assert file.preadv(parts, 2 * BLOCK) == 2 * BLOCK
        assert parts == [block(2), block(3)]
    assert path.read_bytes()[: 5 * BLOCK] == b"".join(
        [bytes(BLOCK), block(1), block(2), block(3), bytes(BLOCK)]
    )


@pytest.mark.combination
@pytest.mark.root
@DIRECT
@pytest.mark.parametrize("logical_block_bytes", [512, 4096])
def test_a_block_device_is_written_durably_and_read_back_on_each_engine(
    loop_device: LoopDevices, engine: str, direct: bool, logical_block_bytes: int
) -> None:
    device = loop_device(1 << 20, logical_block_bytes=logical_block_bytes)
    with open_file(device, "r+", engine=engine, direct=direct) as file:
        assert file.size == 1 << 20
        assert file.offset_align == (logical_block_bytes if direct else 1)
        assert file.pwrite(block(1), BLOCK, fua=True) == BLOCK
        assert file.pwritev([block(2), block(3)], 4 * BLOCK, fua=True) == 2 * BLOCK
        file.flush()
        assert file.pread(BLOCK, BLOCK) == block(1)
        assert file.pread(2 * BLOCK, 4 * BLOCK) == block(2).tobytes() + block(3).tobytes()
        assert file.pread(2 * BLOCK, file.size - BLOCK) == bytes(BLOCK)
        with pytest.raises(OSError) as caught:
            file.pwrite(block(4), file.size, fua=True)
        assert caught.value.errno == errno.ENOSPC
    with device.open("rb") as again:
        assert again.read(2 * BLOCK)[BLOCK:] == block(1)


@pytest.mark.root
@DIRECT
@pytest.mark.parametrize(("kind", "size_bytes"), [("ext4", 32 << 20), ("xfs", 320 << 20)])
def test_a_file_on_its_own_file_system_is_written_durably_and_read_back(
    loop_device: LoopDevices,
    file_system: FileSystems,
    engine: str,
    kind: str,
    size_bytes: int,
    direct: bool,
) -> None:
    folder = file_system(kind, loop_device(size_bytes))
    with open_file(folder / "file", "x+", engine=engine, direct=direct) as file:
        for number in range(8):
            assert file.pwrite(block(number), number * BLOCK, fua=True) == BLOCK
        file.flush(metadata=True)
        assert file.pread(8 * BLOCK, 0) == b"".join(block(number) for number in range(8))
        assert file.size == 8 * BLOCK


@DIRECT
def test_a_read_stops_at_the_end_of_the_file_and_past_it_reads_nothing(
    scratch: Path, engine: str, direct: bool
) -> None:
    (scratch / "file").write_bytes(block(1).tobytes() + b"tail")
    with open_file(scratch / "file", engine=engine, direct=direct) as file:
        assert file.pread(3 * BLOCK, 0) == block(1).tobytes() + b"tail"
        assert file.pread(BLOCK, BLOCK) == b"tail"
        assert file.pread(BLOCK, 2 * BLOCK) == b""
        assert file.pread(BLOCK, 1 << 40) == b""
        parts = [memoryview(aligned_buffer(BLOCK)) for _ in range(3)]
        assert file.preadv(parts, 0) == BLOCK + 4
        assert bytes(parts[1][:4]) == b"tail"
        assert file.preadv(parts, 2 * BLOCK) == 0


@DIRECT
def test_a_write_past_the_end_makes_the_file_longer(
    scratch: Path, engine: str, direct: bool
) -> None:
    with open_file(scratch / "file", "x+", engine=engine, direct=direct) as file:
        assert file.size == 0
        file.pwrite(block(1), 3 * BLOCK, fua=True)
        assert file.size == 4 * BLOCK
        assert file.pread(4 * BLOCK, 0) == bytes(3 * BLOCK) + block(1).tobytes()


def test_an_offset_past_four_gib_is_not_cut(scratch: Path, engine: str) -> None:
    offset = (1 << 32) + 5
    with open_file(scratch / "file", "x+", engine=engine) as file:
        file.pwrite(b"far", offset, fua=True)
        assert (file.pread(3, offset), file.pread(3, 5)) == (b"far", b"\0\0\0")
        assert file.size == offset + 3


@DIRECT
@pytest.mark.parametrize("metadata", [False, True], ids=["data", "metadata"])
def test_a_flush_is_one_request_for_what_was_asked(
    scratch: Path, engine: str, faults: Faults, direct: bool, metadata: bool
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=direct) as file:
        file.flush(metadata=metadata)
        file.pwrite(block(1), 0)
        file.flush(metadata=metadata)
    data_only = 0 if metadata else 1
    assert [(seen.kind, seen.flags) for seen in faults.seen()] == [
        (FLUSH, data_only),
        (WRITE, 0),
        (FLUSH, data_only),
    ]


def test_a_flush_of_a_file_opened_for_reading_is_one_too(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with open_file(make(scratch / "file"), engine=engine) as file:
        file.flush()
    assert len(faults.seen(FLUSH)) == 1


@DIRECT
def test_several_threads_share_a_file(scratch: Path, engine: str, direct: bool) -> None:
    path = make(scratch / "file")
    with open_file(path, "r+", engine=engine, direct=direct, depth=4) as file:

        def work(number: int) -> None:
            for turn in range(number, 64, 8):
                file.pwrite(block(turn), turn * BLOCK, fua=turn % 2 == 0)
                assert file.pread(BLOCK, turn * BLOCK) == block(turn)
            file.flush()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [None] * 8
    assert path.read_bytes() == b"".join(block(turn) for turn in range(64))


# ---- what a file says of itself ----


@pytest.mark.combination
@DIRECT
def test_can_fua_says_what_the_header_and_the_kernel_gave(
    scratch: Path, engine: str, direct: bool
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=direct) as file:
        native = helper_is_there(engine)
        assert file.can_fua is (Fua.NATIVE if native else Fua.EMULATED)
        assert file.supported_write_flags == (DSYNC if native else 0)


@pytest.mark.combination
def test_what_can_fua_says_is_what_the_kernel_gets(
    scratch: Path, engine: str, faults: Faults
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        file.pwrite(b"x", 0, fua=True)
        native = [(WRITE, DSYNC)]
        emulated = [(WRITE, 0), (FLUSH, 1)]
        expected = {Fua.NATIVE: native, Fua.EMULATED: emulated}[file.can_fua]
    assert [(seen.kind, seen.flags) for seen in faults.seen()] == expected


@pytest.mark.combination
def test_can_fua_is_none_in_memory_and_durable_writes_still_write(engine: str) -> None:
    descriptor = memory_file()
    try:
        with open_file(descriptor, "r+", engine=engine) as file:
            assert file.can_fua is Fua.NONE
            assert file.pwrite(b"data", 0, fua=True) == 4
            assert file.pread(4, 0) == b"data"
    finally:
        os.close(descriptor)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_can_fua_is_none_on_a_file_system_in_memory(scratch: Path, engine: str, kind: str) -> None:
    with (
        mounted(kind, kind, scratch / "memory") as folder,
        open_file(folder / "file", "x+", engine=engine) as file,
    ):
        assert file.can_fua is Fua.NONE


@pytest.mark.root
@DIRECT
def test_threads_emulate_on_a_raw_block_device_and_the_others_need_not(
    loop_device: LoopDevices, engine: str, direct: bool
) -> None:
    with open_file(loop_device(1 << 20), "r+", engine=engine, direct=direct) as file:
        native = engine != "threads" and helper_is_there(engine)
        assert file.can_fua is (Fua.NATIVE if native else Fua.EMULATED)


@pytest.mark.root
@DIRECT
def test_where_an_asynchronous_flag_is_in_doubt_only_threads_use_it_with_o_direct(
    scratch: Path, engine: str, direct: bool
) -> None:
    folders = {name: scratch / name for name in ("lower", "upper", "work")}
    for folder in folders.values():
        folder.mkdir()
    options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**folders)
    with (
        mounted("overlay", "overlay", scratch / "merged", options=options) as folder,
        open_file(folder / "file", "x+", engine=engine, direct=direct) as file,
    ):
        native = helper_is_there(engine) and (engine == "threads" or not direct)
        assert file.can_fua is (Fua.NATIVE if native else Fua.EMULATED)
        assert file.pwrite(aligned_buffer(4096), 0, fua=True) == 4096


def test_a_flag_in_doubt_is_not_sent_by_an_asynchronous_engine(
    scratch: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_doubt(opened: _open.Opened) -> CData:
        facts = ask(opened)
        facts.flag_in_doubt = True
        return facts

    ask = _open.ask
    monkeypatch.setattr(_open, "ask", in_doubt)
    with open_file(scratch / "file", "x+", engine=engine, direct=True) as file:
        native = engine == "threads" and helper_is_there(engine)
        assert file.can_fua is (Fua.NATIVE if native else Fua.EMULATED)


def test_fua_is_a_word_that_prints_as_such() -> None:
    assert [str(kind) for kind in Fua] == ["native", "emulated", "none"]


def test_the_alignment_of_a_direct_file_is_enough_and_a_power_of_two(
    scratch: Path, engine: str
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine, direct=True) as file:
        for align in (file.memory_align, file.offset_align):
            assert align >= 1
            assert align & (align - 1) == 0
        step = max(file.memory_align, file.offset_align)
        smallest = memoryview(aligned_buffer(2 * step))[step:]
        assert file.pwrite(smallest, file.offset_align) == step


def test_the_size_is_that_of_now(scratch: Path, engine: str) -> None:
    with open_file(scratch / "file", "x+", engine=engine) as file:
        os.truncate(scratch / "file", 12345)
        assert file.size == 12345


def test_fileno_is_a_descriptor_of_the_file(scratch: Path, engine: str) -> None:
    path = make(scratch / "file")
    with open_file(path, engine=engine) as file:
        assert os.path.sameopenfile(file.fileno(), file.fileno())
        assert os.path.samestat(os.fstat(file.fileno()), path.stat())


def test_a_file_shows_its_name_engine_and_state(scratch: Path, engine: str) -> None:
    file = open_file(make(scratch / "file"), engine=engine)
    assert repr(file) == f"<fuaio.aio.File {scratch / 'file'} {engine} direct=False>"
    file.close()
    assert repr(file) == f"<fuaio.aio.File {scratch / 'file'} {engine} closed>"


# ---- what goes wrong ----


@pytest.mark.parametrize("fua", [False, True])
def test_a_write_to_a_file_opened_for_reading_is_ebadf_and_nothing_is_latched(
    scratch: Path, engine: str, fua: bool
) -> None:
    path = make(scratch / "file")
    with open_file(path, "r", engine=engine) as file:
        with pytest.raises(OSError) as caught:
            file.pwrite(b"x", 0, fua=fua)
        assert caught.value.errno == errno.EBADF
        assert caught.value.filename == str(path)
        file.flush()
        assert file.pread(1, 0) == b"\0"


@pytest.mark.parametrize("offset", [(1 << 63) - 1, (1 << 63) - 4])
def test_what_ends_past_the_largest_offset_is_refused_by_the_kernel(
    scratch: Path, engine: str, offset: int
) -> None:
    with open_file(make(scratch / "file"), "r+", engine=engine) as file:
        with pytest.raises(OSError) as caught:
            file.pwrite(b"data", offset, fua=True)
        assert caught.value.errno in {errno.EINVAL, errno.EFBIG, errno.EOVERFLOW}
        assert file.pwrite(b"data", 0, fua=True) == 4


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Files of this process may grow to *size_bytes*; past that the kernel answers EFBIG."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("fua", [False, True])
def test_a_file_that_may_grow_no_more_is_efbig_and_says_what_was_written(
    scratch: Path, engine: str, fua: bool
) -> None:
    with open_file(scratch / "file", "x+", engine=engine) as file, largest_file(2 * BLOCK):
        with pytest.raises(OSError) as caught:
            file.pwrite(bytes(3 * BLOCK), 0, fua=fua)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.bytes_written == 2 * BLOCK  # type: ignore[attr-defined] # of ours
        assert file.size == 2 * BLOCK
        assert file.pwrite(b"again", 0, fua=True) == 5


@pytest.mark.root
@DIRECT
@pytest.mark.parametrize("fua", [False, True])
def test_a_full_disk_is_enospc_and_says_what_was_written(
    loop_device: LoopDevices, file_system: FileSystems, engine: str, direct: bool, fua: bool
) -> None:
    folder = file_system("ext4", loop_device(8 << 20))
    with (
        open_file(folder / "file", "x+", engine=engine, direct=direct) as file,
        memoryview(aligned_buffer(16 << 20)) as data,
    ):
        with pytest.raises(OSError) as caught:
            file.pwrite(data, 0, fua=fua)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.bytes_written <= file.size < len(data)  # type: ignore[attr-defined] # of ours
        assert file.pread(BLOCK, 0) == bytes(min(BLOCK, file.size))


Call = Callable[[File], object]
CALLS: dict[str, Call] = {
    "pread": lambda file: file.pread(1, 0),
    "pread of nothing": lambda file: file.pread(0, 0),
    "pread_into": lambda file: file.pread_into(bytearray(1), 0),
    "preadv": lambda file: file.preadv([bytearray(1)], 0),
    "pwrite": lambda file: file.pwrite(b"x", 0),
    "pwrite of nothing": lambda file: file.pwrite(b"", 0),
    "pwrite fua": lambda file: file.pwrite(b"x", 0, fua=True),
    "pwritev": lambda file: file.pwritev([b"x"], 0),
    "flush": lambda file: file.flush(),
    "flush metadata": lambda file: file.flush(metadata=True),
    "size": lambda file: file.size,
    "fileno": lambda file: file.fileno(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_closed_file_refuses_it(scratch: Path, engine: str, faults: Faults, call: Call) -> None:
    file = open_file(make(scratch / "file"), "r+", engine=engine)
    file.close()
    with pytest.raises(ClosedError, match="closed") as caught:
        call(file)
    assert str(scratch / "file") in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert faults.seen() == []


def test_closed_says_whether_close_was_called(scratch: Path, engine: str) -> None:
    file = open_file(make(scratch / "file"), engine=engine)
    states = [file.closed]
    file.close()
    states.append(file.closed)
    assert states == [False, True]


def test_a_closed_file_still_tells_what_it_was(scratch: Path, engine: str) -> None:
    file = open_file(make(scratch / "file"), "r+", engine=engine, direct=True)
    before = (file.engine, file.can_fua, file.supported_write_flags)
    aligns = (file.memory_align, file.offset_align)
    file.close()
    assert (file.engine, file.can_fua, file.supported_write_flags) == before
    assert (file.memory_align, file.offset_align) == aligns


def test_with_closes_the_file_also_when_its_body_raises(scratch: Path, engine: str) -> None:
    before = descriptors()
    with (
        pytest.raises(RuntimeError, match="body"),
        open_file(make(scratch / "file"), engine=engine) as file,
    ):
        raise RuntimeError("body")
    assert file.closed
    assert descriptors() == before


def test_an_unclosed_file_warns_and_is_closed(scratch: Path, engine: str) -> None:
    before = descriptors()
    file = open_file(make(scratch / "file"), engine=engine)
    shown = repr(file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del file
        gc.collect()
    assert [(warning.category, str(warning.message)) for warning in caught] == [
        (ResourceWarning, f"unclosed {shown}")
    ]
    assert descriptors() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unclosed_file_is_closed_also_where_warnings_are_errors(
    scratch: Path, engine: str
) -> None:
    before = descriptors()
    file = open_file(make(scratch / "file"), engine=engine)
    del file  # the tests run with warnings as errors, and one in __del__ is printed, not raised
    gc.collect()
    assert descriptors() == before


def test_a_closed_file_does_not_warn(scratch: Path, engine: str) -> None:
    file = open_file(make(scratch / "file"), engine=engine)
    file.close()
    del file
    gc.collect()  # a warning would be an error here
    assert not [name for name in descriptors().values() if name == str(scratch / "file")]
