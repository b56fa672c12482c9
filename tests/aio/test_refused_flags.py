"""A flag that reaches an engine without its helper aborts, in every build type."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from needs import need_engine

from fuaio.aio import laio_has_fua, luring_has_fua

# The mask is above this call: what it is told goes to the engine as it is.
PASS_THE_FLAG = """
import sys
from fuaio.aio._core import lib
from fuaio.aio._engines import operations
print(lib.fuaio_engine_ask(operations(sys.argv[1]), lib.FUAIO_RWF_DSYNC))
"""
HAS_HELPER = {"linux_aio": laio_has_fua, "io_uring": luring_has_fua}
HELPERS = {"linux_aio": "io_prep_pwritev2", "io_uring": "io_uring_prep_writev2"}


@pytest.mark.combination
@pytest.mark.parametrize("engine", HAS_HELPER)
def test_a_flag_past_the_mask_aborts_where_the_helper_is_missing_and_only_there(
    engine: str,
) -> None:
    need_engine(engine)
    done = subprocess.run(
        [sys.executable, "-c", PASS_THE_FLAG, engine], capture_output=True, text=True, check=False
    )
    if HAS_HELPER[engine]():
        assert (done.returncode, done.stdout) == (0, "0\n")
        return
    assert done.returncode == -signal.SIGABRT
    assert done.stdout == ""
    assert f"engine_{engine}.c:" in done.stderr
    assert "write flags 0x2 " in done.stderr
    assert HELPERS[engine] in done.stderr
