"""Faults for the tests of this room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_table import Faults, compile_faults
from needs import missing


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
    loaded.remove()
