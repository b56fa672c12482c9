"""Rounds of contestants that are tiny programs: their order, their failures, their ends."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from bench_programs import ANSWER, WORK, Program, ReleasedProgram

from fuaio.bench import Answer, Contestant, Work
from fuaio.bench._rounds import Entry, run_rounds


def run(
    *contestants: Contestant, work: Work = WORK, rounds: int = 1, flushes: list[int] | None = None
) -> list[Entry]:
    counts = iter(flushes or ())
    return run_rounds(
        contestants,
        work,
        msgspec.structs.replace(work, latencies=True),
        rounds,
        flushes=lambda: next(counts, None),
        done=lambda: None,
    )


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


def test_each_does_the_work_once_before_any_does_it_again_and_another_begins(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    run(*(Program(name, log) for name in "abc"), rounds=3)
    rounds = ["a 0", "b 0", "c 0", "b 0", "c 0", "a 0", "c 0", "a 0", "b 0"]
    assert lines(log) == [*rounds, "a latencies", "b latencies", "c latencies"]


def test_what_a_program_says_is_the_sample_of_its_round(tmp_path: Path) -> None:
    (entry,) = run(Program("a", tmp_path / "log"), rounds=2)
    assert [sample.iops for sample in entry.samples] == [200.0, 200.0]
    assert entry.latencies is not None
    assert entry.latencies.sorted_s == ANSWER.latencies_s
    assert (entry.why_not, entry.why_no_latencies) == ("", "")


def test_flushes_are_those_between_the_release_and_the_end(tmp_path: Path) -> None:
    (entry,) = run(ReleasedProgram("a", tmp_path / "log"), rounds=2, flushes=[3, 10, 20, 21])
    assert [sample.flushes for sample in entry.samples] == [7, 1]


def test_one_that_cannot_says_why_and_is_not_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first, second = run(Program("a", log, refused="it is not installed"), Program("b", log))
    assert (first.why_not, first.samples, first.latencies) == ("it is not installed", [], None)
    assert len(second.samples) == 1
    assert lines(log) == ["b 0", "b latencies"]


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("import sys; sys.exit('first line\\nthe disk is on fire\\n')", "the disk is on fire"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import sys; print('no figures'); sys.exit(0)", "a printed no answer"),
    ],
)
def test_one_that_fails_says_why_and_is_not_run_again(
    tmp_path: Path, before: str, why: str
) -> None:
    log = tmp_path / "log"
    (entry,) = run(Program("a", log, before=before), rounds=3)
    assert why in entry.why_not
    assert entry.samples == []
    assert lines(log) == ["a 0"]


def test_a_program_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    class Missing(Program):
        def command(self, work: Work, job: int) -> list[str]:
            return [str(tmp_path / "no-such-program")]

    (entry,) = run(Missing("a", tmp_path / "log"))
    assert "No such file" in entry.why_not


def test_a_program_without_latencies_says_so(tmp_path: Path) -> None:
    silent = Answer(writes=1, elapsed_s=1, cpu_s=0)
    (entry,) = run(Program("a", tmp_path / "log", answer=silent))
    assert entry.latencies is None
    assert entry.why_no_latencies == "it does not tell the time of single writes"
    assert len(entry.samples) == 1


def test_jobs_begin_when_all_are_ready(tmp_path: Path) -> None:
    # Each leaves a mark before it is ready, and at its release sees the marks of all.
    class Marked(ReleasedProgram):
        def command(self, work: Work, job: int) -> list[str]:
            *words, program = super().command(work, job)
            mark = f"open({str(tmp_path / f'mark-{job}')!r}, 'w').close()\n"
            return [*words, mark + program]

    before = f"import os\nfor n in range(4): os.stat({str(tmp_path / 'mark-')!r} + str(n))"
    work = msgspec.structs.replace(WORK, jobs=4)
    (entry,) = run(Marked("a", tmp_path / "log", before=before), work=work)
    assert entry.why_not == ""
    assert [sample.writes for sample in entry.samples] == [400]


def test_one_of_several_jobs_that_fails_leaves_none_of_the_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    note = f"import os\nopen({str(log)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"

    class Ending(ReleasedProgram):
        def command(self, work: Work, job: int) -> list[str]:
            *words, program = super().command(work, job)
            return [*words, note + ("os._exit(9)" if job == 1 else program)]

    (entry,) = run(Ending("a", log), work=msgspec.structs.replace(WORK, jobs=3))
    assert "exit code 9" in entry.why_not
    for number in (int(line) for line in lines(log) if line.isdigit()):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
