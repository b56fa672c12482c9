"""Where the command starts: every way to end is turned into its exit code here.

0 and 1 are answers, 2 is a usage error or unreadable input, 3 and 77 are undecidable (see
docs/report.md); 70 is our own failure, 130 is Ctrl-C, 141 is a reader that went away. Since 1
must come from nothing but an answer, this file imports nothing but sys before it can catch.
"""

import sys

INTERNAL, INTERRUPTED, BROKEN_PIPE = 70, 130, 141


def main() -> int:
    """Run the command line; return its exit code, whatever happens."""
    try:
        from fuaio.cli._main import run

        code = run(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  # 1 must mean unmet, and nothing else
        code = _failure(error)
        _discard_output()
    return code


def _failure(error: BaseException) -> int:
    """Say in one line what happened, where there is somebody to read it."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    line = " ".join(f"{type(error).__name__}: {error}".split())
    try:
        sys.stderr.write(f"fuaio: failure: {line} ({_place(error)})\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # stderr is missing, full, closed
        pass
    return INTERNAL


def _place(error: BaseException) -> str:
    """Return file and line at which *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"


def _discard_output() -> None:
    """What is still buffered cannot be written; the interpreter would try again and complain."""
    import os

    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
    except (AttributeError, OSError, ValueError):  # there is no stdout to save
        pass
