"""What has to happen in a process of its own: ``life_child.py SCENARIO ENGINE FAULTS FILE``.

Each scenario leaves a durable write in flight, whose completion is withheld, and says in one
word a line what it sees. ``fuaio.aio`` is imported by `Stage`, after what has to run after it
at the end of the interpreter.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuaio.aio import File

PATIENCE_S = 60
kept: list[object] = []  # what lives until the end of the interpreter


class Watched(bytearray):
    """Says when it is freed."""

    def __del__(self) -> None:
        os.write(1, b"freed\n")


def say(word: str) -> None:
    """Tell the parent."""
    os.write(1, f"{word}\n".encode())


class Stage:
    """A file, and on it one write of `data` in flight."""

    def __init__(self, engine: str, library: str, path: str) -> None:
        from faults_table import Faults

        from fuaio.aio import open_file

        self.engine = engine
        self.faults = Faults(Path(library))
        self.faults.install()
        self.data = Watched(b"x" * 4096)
        self.file = open_file(path, "r+", engine=engine)
        self.writer: threading.Thread | None = None

    def leave_write(self) -> None:
        """Leave it by a signal where the kernel goes on by itself, else to a thread."""
        from life_files import leave_held_write

        if self.engine != "threads":
            leave_held_write(self.file, self.data, self.faults)
            return
        from faults_table import HOLD, WRITE

        self.faults.rule(WRITE, HOLD)
        self.writer = threading.Thread(
            target=self.file.pwrite, args=(self.data, 0), kwargs={"fua": True}, daemon=True
        )
        self.writer.start()
        self.faults.wait_held()

    def say_export(self) -> None:
        """Whether the memory of the write is still held."""
        from life_files import is_exported

        say("exported" if is_exported(self.data) else "free")

    def finish(self) -> None:
        """Let the completion come, and see it."""
        self.faults.release()
        if self.writer is not None:
            self.writer.join()
        for _ in range(2):  # the first may see it, the second lets the buffer go
            self.file.pread(1, 0)
        self.say_export()
        self.file.pwrite(b"goes on", 0, fua=True)
        self.file.close()
        self.faults.remove()
        say("parent goes on")


# ---- Ctrl-C ----


def interrupt(stage: Stage) -> None:
    """A real SIGINT arrives in the main thread while its write is held."""
    from faults_table import HOLD, WRITE

    def watch() -> None:
        stage.faults.wait_held()
        say("held")
        sys.stdin.readline()
        stage.faults.release()

    stage.faults.rule(WRITE, HOLD)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        stage.file.pwrite(stage.data, 0, fua=True)
    except KeyboardInterrupt:
        say("interrupted")
        if stage.engine != "threads":
            stage.say_export()
    say("ready")
    watcher.join()
    stage.finish()


# ---- the end of the interpreter ----


def last(stage: Stage, *, released: bool) -> None:
    """Runs after fuaio's own end."""
    if stage.writer is not None and released:
        stage.writer.join()
    stage.say_export()


def end(stage: Stage, *, drop: bool, release: bool) -> None:
    """The interpreter ends with the write in flight; perhaps it completes while the end waits."""
    from life_files import Waits

    from fuaio.aio import _queue

    waits = threading.Event()
    _queue._EXIT_S = PATIENCE_S if release else 0.3
    stage.leave_write()
    kept.append(stage)
    if drop:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del stage.file
    if not release:
        return

    def let_go() -> None:
        waits.wait()
        say("the end waits")
        stage.faults.release()

    vars(_queue)["lib"] = Waits("fuaio_queue_close", waits.set)
    threading.Thread(target=let_go, daemon=True).start()


# ---- fork ----


def calls(file: File) -> dict[str, Callable[[], Any]]:
    """Everything that a child must be refused."""
    return {
        "pread": lambda: file.pread(1, 0),
        "pread of nothing": lambda: file.pread(0, 0),
        "pread_into": lambda: file.pread_into(bytearray(1), 0),
        "preadv": lambda: file.preadv([bytearray(1)], 0),
        "pwrite": lambda: file.pwrite(b"child", 0),
        "pwrite fua": lambda: file.pwrite(b"child", 0, fua=True),
        "pwrite of nothing": lambda: file.pwrite(b"", 0),
        "pwritev": lambda: file.pwritev([b"child"], 0),
        "write_batch": lambda: file.write_batch([0], b"child"),
        "write_batch in groups": lambda: file.write_batch([0, 1], [b"c", b"d"], durable="flush"),
        "read_batch": lambda: file.read_batch([0], [bytearray(1)]),
        "flush": lambda: file.flush(),
        "flush metadata": lambda: file.flush(metadata=True),
        "size": lambda: file.size,
        "fileno": lambda: file.fileno(),
        "can_fua": lambda: file.can_fua,
        "supported_write_flags": lambda: file.supported_write_flags,
    }


def in_child(file: File, path: str) -> None:
    """Everything is refused, and closing leaves no descriptor of the parent's."""
    from life_files import descriptors

    from fuaio.aio import ClosedError, open_file

    signal.alarm(PATIENCE_S)  # a hang ends here
    for name, call in calls(file).items():
        try:
            call()
        except ClosedError:
            continue
        say(f"{name} was not refused")
    for _ in range(2):
        file.close()
    for name in descriptors().values():
        if name == path or "io_uring" in name:
            say(f"{name} was not closed")
    with open_file(path, "r+", engine=file.engine) as own:
        own.pwrite(b"own", 4096, fua=True)
        if own.pread(3, 4096) != b"own":
            say("a file of the child's own does not work")
    say("child closed")


def fork(stage: Stage, path: str, *, clean_end: bool) -> None:
    """os.fork; the child ends at once, or as an interpreter does."""
    stage.leave_write()
    kept.append(stage)
    pid = os.fork()
    if pid == 0:
        in_child(stage.file, path)
        if clean_end:
            sys.exit(0)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    say(f"child ended {os.waitstatus_to_exitcode(status)}")
    stage.say_export()
    stage.finish()


def fork_and_forget(stage: Stage, path: str) -> None:
    """The child never touches the file, and ends as an interpreter does."""
    stage.leave_write()
    kept.append(stage)
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE_S)
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    say(f"child ended {os.waitstatus_to_exitcode(status)}")
    stage.say_export()
    stage.finish()


def spawned() -> None:
    """Runs in a process that multiprocessing started anew."""
    say("child started")


def use_multiprocessing(stage: Stage, path: str, *, method: str) -> None:
    """A child that inherits the file, or one that is started anew."""
    stage.leave_write()
    if method == "fork":
        child: Any = multiprocessing.get_context("fork").Process(
            target=in_child, args=(stage.file, path)
        )
    else:
        child = multiprocessing.get_context("spawn").Process(target=spawned)
    child.start()
    child.join()
    say(f"child ended {child.exitcode}")
    stage.say_export()
    stage.finish()


def use_subprocess(stage: Stage, path: str) -> None:
    """A program that inherits what is not closed on exec."""
    stage.leave_write()
    listing = "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in range(3, 256)"
    program = f"{listing} if os.path.lexists(f'/proc/self/fd/{{n}}')), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        close_fds=False,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in done.stdout.splitlines():
        if name == path or "io_uring" in name:
            say(f"{name} was inherited")
    say(f"child ended {done.returncode}")
    stage.say_export()
    stage.finish()


def main(scenario: str, engine: str, library: str, path: str) -> None:
    """Play one scenario."""
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    stages: list[Stage] = []
    if scenario.startswith("end"):
        atexit.register(lambda: last(stages[0], released="released" in scenario))
    stages.append(stage := Stage(engine, library, path))
    {
        "interrupt": lambda: interrupt(stage),
        "end released": lambda: end(stage, drop=False, release=True),
        "end released dropped": lambda: end(stage, drop=True, release=True),
        "end never": lambda: end(stage, drop=False, release=False),
        "end never dropped": lambda: end(stage, drop=True, release=False),
        "fork": lambda: fork(stage, path, clean_end=False),
        "fork clean": lambda: fork(stage, path, clean_end=True),
        "fork and forget": lambda: fork_and_forget(stage, path),
        "multiprocessing fork": lambda: use_multiprocessing(stage, path, method="fork"),
        "multiprocessing spawn": lambda: use_multiprocessing(stage, path, method="spawn"),
        "subprocess": lambda: use_subprocess(stage, path),
    }[scenario]()


if __name__ == "__main__":
    main(*sys.argv[1:])
