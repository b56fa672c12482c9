"""Faults for the tests of this room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from async_files import Run
from faults_table import Faults, compile_faults
from needs import missing, need_engine

from fuaio.aio import _queue

T = TypeVar("T")


@pytest.fixture(scope="session")
def faults_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/faults as a shared object; a child process loads it as `Faults(path)`."""
    try:
        return compile_faults(tmp_path_factory.mktemp("faults"))
    except FileNotFoundError as error:
        required = bool(os.environ.get("FUAIO_REQUIRE_ENGINES"))
        missing(f"no compiler to make the faults with: {error}", required=required)


@pytest.fixture
def faults(faults_library: Path) -> Iterator[Faults]:
    """Faults between fuaio.aio and the kernel, gone after the test."""
    loaded = Faults(faults_library)
    loaded.install()
    yield loaded
    # What a test that failed leaves in flight ends now or never: no later test may find it.
    loaded.forget_rules()
    loaded.release()
    for queue in [*_queue._live]:
        if not (queue.is_closed or queue.is_idle):
            queue.close()
    loaded.remove()


@pytest.fixture(params=["io_uring", "linux_aio"])
def ring_engine(request: pytest.FixtureRequest) -> str:
    """The engines whose requests go on without the thread that asked."""
    name = str(request.param)
    need_engine(name)
    return name


@pytest.fixture
def run() -> Run:
    """Runs a coroutine in a loop of asyncio's own, which complains of what is slow or forgotten."""

    def run_it(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(debug=True) as runner:
            return runner.run(coroutine)

    return run_it


@pytest.fixture(params=["asyncio", "uvloop"])
def run_on_each(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in a loop of each kind in turn."""
    if request.param == "asyncio":
        return asyncio.run
    try:
        import uvloop
    except ModuleNotFoundError:
        missing("uvloop is not installed", required=False)

    def run_it(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(coroutine)

    return run_it
