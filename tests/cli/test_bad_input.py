"""Reports and requirements that are broken, hostile or not there: exit code 2 and one line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Fuaio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuaio.cli._main import run

VALID = {
    "schema_version": "1.0",
    "fuaio_version": "0.1.0",
    "sections": {
        "build": [{"name": "pwritev2", "kind": "capability", "state": "yes", "reason": "ok"}]
    },
}


def sparse(path: Path) -> None:
    """Make a file of 100 MB that takes no room."""
    with path.open("wb") as file:
        file.truncate(100_000_000)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "No such file or directory"),
    "a directory": (Path.mkdir, "Is a directory"),
    "empty": (Path.touch, "byte 0: empty, a JSON object is expected"),
    "truncated": (
        lambda path: path.write_text(json.dumps(VALID)[:-20]),
        f"byte {len(json.dumps(VALID)) - 20}: not JSON: the text ends too early",
    ),
    "not JSON": (
        lambda path: path.write_text("#define HAVE_X 1\n"),
        "byte 0: not JSON: invalid character",
    ),
    "not UTF-8": (lambda path: path.write_bytes(b'{"\xff'), "byte 2: not UTF-8"),
    "schema 2.0": (
        lambda path: path.write_text(json.dumps(VALID | {"schema_version": "2.0"})),
        "schema_version: 2.0 is not readable here, only 1.x is; use the fuaio that wrote it",
    ),
    "100 MB": (sparse, "larger than 16777216 bytes (16 MiB), so it is no report"),
    "deeply nested": (
        lambda path: path.write_text('{"a":' * 1_000_000),
        "byte 500: nested more than 100 deep",
    ),
    "wrong types": (
        lambda path: path.write_text(json.dumps(VALID | {"sections": {"build": [{"name": 3}]}})),
        "sections.build[0].name: Expected `str`, got `int`",
    ),
}


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_check_refuses_a_report_that_cannot_be_read(
    fuaio: Fuaio, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "report"
    make(path)
    done = fuaio("check", "pwritev2", "--report", str(path))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"fuaio: {path}: {message}\n"


@pytest.mark.parametrize("position", ["first", "second"])
@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_diff_refuses_a_report_that_cannot_be_read(
    fuaio: Fuaio,
    tmp_path: Path,
    saved: Path,
    make: Callable[[Path], object],
    message: str,
    position: str,
) -> None:
    path = tmp_path / "report"
    make(path)
    names = (path, saved) if position == "first" else (saved, path)
    done = fuaio("diff", *map(str, names))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"fuaio: {path}: {message}\n"


@pytest.mark.parametrize(
    "arguments", [("check", "pwritev2", "--report", ""), ("diff", "", "-")], ids=" ".join
)
def test_a_name_that_is_empty_is_said_to_be(fuaio: Fuaio, arguments: tuple[str, ...]) -> None:
    done = fuaio(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"fuaio: the name of a report is empty; ")


def test_a_report_on_the_standard_input_is_named_as_a_dash(fuaio: Fuaio) -> None:
    done = fuaio("check", "pwritev2", "--report", "-", stdin=b"{")
    assert (done.returncode, done.stderr) == (
        2,
        b"fuaio: -: byte 1: not JSON: the text ends too early\n",
    )


def test_the_name_of_a_file_cannot_break_the_line(fuaio: Fuaio) -> None:
    done = fuaio("check", "pwritev2", "--report", "/no\n\x1b[2Jsuch")
    assert done.returncode == 2
    assert done.stderr == b"fuaio: /no\\n\\x1b[2Jsuch: No such file or directory\n"


def test_endless_input_is_read_no_further_than_a_report_can_be(command: tuple[str, ...]) -> None:
    # Were it read on, the limit would end the child and not this machine.
    limited = ["sh", "-c", 'ulimit -v 2000000; exec "$@"', "sh", *command]
    done = subprocess.run(
        [*limited, "check", "pwritev2", "--report", "/dev/zero"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"larger than 16777216 bytes" in done.stderr


@pytest.mark.parametrize(
    "text",
    ["nosuch", "liburing>=", "liburing>=2.x", "liburing=2.3", "engine:kernel", "fua:/x", "", "é"],
)
def test_check_refuses_what_is_no_requirement(fuaio: Fuaio, text: str) -> None:
    done = fuaio("check", "pwritev2", text)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"fuaio check: ")
    assert done.stderr.count(b"\n") == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
damaged = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda key, value: json.dumps(VALID | {key: value}).encode(),
        st.sampled_from(list(VALID)),
        json_values,
    ),
    st.builds(
        lambda at, junk: json.dumps(VALID).encode()[:at] + junk,
        st.integers(0, len(json.dumps(VALID))),
        st.binary(max_size=3),
    ),
)
words = st.sampled_from(["pwritev2", "liburing>=2", "engine:threads", "fua:/x=none"]) | st.text(
    st.characters(exclude_characters="\0"), max_size=12
)


# The file is written anew for each example, so that one folder serves them all.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged, st.lists(words, max_size=3), st.booleans())
@example(json.dumps(VALID).encode(), ["pwritev2"], False)
def test_any_report_and_any_requirement_end_in_a_documented_exit_code(
    tmp_path: Path, data: bytes, texts: list[str], is_skippable: bool
) -> None:
    path = tmp_path / "report"
    path.write_bytes(data)
    options = ["--skippable"] if is_skippable else []
    code = run(["check", "--report", str(path), *options, "--", *texts])
    assert code in {0, 1, 2, 77 if is_skippable else 3}
    assert run(["diff", str(path), str(path)]) in {0, 2}
