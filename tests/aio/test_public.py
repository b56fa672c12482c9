"""The public face of fuaio.aio: what is meant to be there, documented, and light to import."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from needs import missing

from fuaio import aio

README = Path(__file__).parents[2] / "README.md"

PUBLIC = {
    "AlignmentError": ValueError,
    "AsyncFile": object,
    "AutoChoice": tuple,
    "Available": tuple,
    "BatchError": OSError,
    "BufferPool": object,
    "ClosedError": ValueError,
    "DurabilityError": OSError,
    "EngineUnavailableError": OSError,
    "File": object,
    "Fua": str,
    "Measured": tuple,
    "Registered": tuple,
    "Statistics": tuple,
    "aligned_buffer": None,
    "available": None,
    "laio_has_fua": None,
    "luring_has_fua": None,
    "open_async": None,
    "open_file": None,
    "prepare": None,
}

SIGNATURES = {
    "open_async": "(path, mode, *, engine, direct, depth, pool)",
    "open_file": "(path, mode, *, engine, direct, depth, pool)",
    "BufferPool": "(count, length)",
    "prepare": "(path, size_bytes, *, progress)",
    "aligned_buffer": "(length)",
    "available": "()",
    "laio_has_fua": "()",
    "luring_has_fua": "()",
    "AsyncFile.pread": "(self, length, offset)",
    "AsyncFile.pread_into": "(self, buffer, offset)",
    "AsyncFile.pwrite": "(self, data, offset, *, fua)",
    "AsyncFile.write_batch": "(self, offsets, buffers, *, durable, latencies)",
    "AsyncFile.statistics": "(self)",
    "AsyncFile.read_batch": "(self, offsets, buffers)",
    "AsyncFile.flush": "(self, *, metadata)",
    "AsyncFile.close": "(self)",
    "AsyncFile.fileno": "(self)",
    "File.pread": "(self, length, offset)",
    "File.pread_into": "(self, buffer, offset)",
    "File.preadv": "(self, buffers, offset)",
    "File.pwrite": "(self, data, offset, *, fua)",
    "File.pwritev": "(self, buffers, offset, *, fua)",
    "File.write_batch": "(self, offsets, buffers, *, durable, latencies)",
    "File.statistics": "(self)",
    "File.read_batch": "(self, offsets, buffers)",
    "File.flush": "(self, *, metadata)",
    "File.close": "(self)",
    "File.fileno": "(self)",
}

NOT_ASYNC = {"preadv", "pwritev"}
FILE_ATTRIBUTES = {
    "can_fua",
    "close",
    "closed",
    "engine",
    "fileno",
    "flush",
    "memory_align",
    "offset_align",
    "pread",
    "pread_into",
    "preadv",
    "pwrite",
    "pwritev",
    "read_batch",
    "size",
    "statistics",
    "supported_write_flags",
    "write_batch",
}


def public_attributes(owner: object) -> set[str]:
    return {name for name in vars(owner) if not name.startswith("_")}


def inherited_attributes(owner: type) -> set[str]:
    return {name for base in owner.__mro__[:-1] for name in public_attributes(base)}


@pytest.mark.combination
def test_the_public_names_are_those_that_are_meant() -> None:
    assert aio.__all__ == sorted(PUBLIC)
    assert set(aio.__all__) <= set(dir(aio))
    for name in aio.__all__:  # some come when they are asked for
        getattr(aio, name)
    modules = {name for name in public_attributes(aio) if inspect.ismodule(getattr(aio, name))}
    assert public_attributes(aio) - modules == set(PUBLIC)
    assert modules == set()


@pytest.mark.parametrize(("name", "base"), PUBLIC.items())
def test_a_public_name_is_of_the_kind_that_callers_catch_or_call(
    name: str, base: type | None
) -> None:
    thing = getattr(aio, name)
    if base is None:
        assert inspect.isfunction(thing)
    else:
        assert issubclass(thing, base)


def test_a_file_has_the_attributes_that_are_meant() -> None:
    assert inherited_attributes(aio.File) == FILE_ATTRIBUTES
    assert inherited_attributes(aio.AsyncFile) == FILE_ATTRIBUTES - NOT_ASYNC


@pytest.mark.parametrize(("name", "parameters"), SIGNATURES.items())
def test_parameters_have_the_names_that_callers_write(name: str, parameters: str) -> None:
    owner: object = aio
    for part in name.split("."):
        owner = getattr(owner, part)
    assert callable(owner)
    signature = inspect.signature(owner)
    plain = [
        parameter.replace(annotation=parameter.empty, default=parameter.empty)
        for parameter in signature.parameters.values()
    ]
    bare = signature.replace(parameters=plain, return_annotation=signature.empty)
    assert str(bare) == parameters


def documented() -> list[str]:
    """Every public name, and every public attribute of a public class of ours."""
    names = ["", *PUBLIC]
    for name in PUBLIC:
        thing = getattr(aio, name)
        if inspect.isclass(thing) and not issubclass(thing, tuple):
            names += [f"{name}.{attribute}" for attribute in vars(thing) if attribute[0] != "_"]
    return sorted(names)


@pytest.mark.parametrize("name", documented())
def test_a_public_name_is_documented_in_a_sentence(name: str) -> None:
    thing: object = aio
    for part in filter(None, name.split(".")):
        thing = inspect.getattr_static(thing, part)
    if name in {"Fua.NATIVE", "Fua.EMULATED", "Fua.NONE", "DurabilityError.bytes_written"}:
        # Values have no docstring of their own: they are told of where they are defined.
        owner = aio.Fua if name.startswith("Fua") else aio.DurabilityError
        source = inspect.getsource(owner)
        assert re.search(rf"{name.split('.')[1]}( = \"\w+\"\n    \"\"\"|: )\w", source)
        return
    first = (inspect.getdoc(thing) or "").splitlines()[0]
    assert re.match(r"[A-Z`].*[.;:]$", first)


def modules_after(statement: str) -> set[str]:
    """The modules that a new interpreter has loaded after *statement*."""
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.combination
def test_importing_loads_nothing_but_cffis_backend_and_the_standard_library() -> None:
    # An environment may import modules of its own at every start.
    loaded = modules_after("import fuaio.aio") - modules_after("pass")
    tops = {name.partition(".")[0] for name in loaded}
    assert tops - set(sys.stdlib_module_names) == {"fuaio", "_cffi_backend"}
    assert not tops & {"asyncio", "click", "msgspec", "rich", "matplotlib", "packaging", "cffi"}
    assert "fuaio.probe" not in loaded


def test_importing_asks_the_kernel_nothing_and_starts_no_thread() -> None:
    program = (
        "import os, threading; before = sorted(os.listdir('/proc/self/fd')); import fuaio.aio; "
        "print(sorted(os.listdir('/proc/self/fd')) == before, threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "1"]


def test_the_package_is_typed() -> None:
    assert (Path(aio.__file__).parents[1] / "py.typed").exists()


def test_the_example_of_the_readme_runs_and_leaves_what_it_says(scratch: Path) -> None:
    if not README.exists():
        missing("the source's README.md is not here", required="CI" in os.environ)
    example = re.search(r"```python\n(from fuaio\.aio import .*?)```", README.read_text(), re.S)
    assert example is not None
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example[1]],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    engines, used, why = done.stdout.splitlines()
    assert used.split()[0] in engines
    assert re.match("not known yet; |fua: |flush: ", why)
    content = (scratch / "journal").read_bytes()
    assert (content[:5], content[4096:4102]) == (b"hello", b"commit")
