"""The commands as a person types them. Few, because each starts a process."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from errno import ENOSPC
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidiff.cli import RunCommand, find_problem, run
from sidiff.errors import SidiffError

from .conftest import ROOT


def kedro(
    project: Path, *arguments: str, module: str = "kedro"
) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(  # noqa: S603 (our own arguments)
        [sys.executable, "-m", module, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_run_shows_one_line_per_node_and_no_noise(project: Path) -> None:
    done = kedro(
        project,
        "run",
        "--pipeline=sample_data",
        "--params=sample_data.users=60,sample_data.items=60,dataset=cli",
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()[0], done.stdout.splitlines()[-1]
    assert "Pipeline sample_data, data set cli" in first
    assert "1/1" in second
    assert "generate_sample_shop" in second
    assert "Warning" not in done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--pipeline=training", "--params=dataset=nobody"],
            "was never stored; make it with kedro run --pipeline=",
        ),
        (
            ["--pipeline=ingestion", "--params=raw_reviews=no.gz,raw_metadata=no.gz"],
            "There is no file",
        ),
        (["--params=training.epochs=0"], "a whole number from 1 to 100,000."),
        (["--params=training.epcohs=5"], "did you mean training.epochs?"),
        (["--params=preset=papre"], "choose one of sidiff, paper, release."),
        (["--env=beuaty"], "There is no environment beuaty; choose one of beauty"),
        (
            ["--pipeline=evaluation", "--params=evaluation.deny_items=gone.txt"],
            "evaluation.deny_items names gone.txt",
        ),
        (["--load-versions=denoisr:2026-11-22T15.37.24.549Z"], "denoisr"),
    ],
)
def test_an_error_is_one_sentence(
    project: Path, arguments: list[str], sentence: str
) -> None:
    done = kedro(project, "run", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--pipeline=trainig", "no pipeline trainig (did you mean training?)."),
        ("--pipeline=zzz", "no pipeline zzz (sample_data, ingestion, "),
        ("--load-versions=denoiser", "found denoiser instead"),
        ("--load-versions=denoiser:../x", "'../x' is not allowed"),
    ],
)
def test_a_command_that_cannot_be_is_one_sentence(argument: str, sentence: str) -> None:
    done = CliRunner().invoke(run, [argument])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert sentence in done.output
    assert done.output.count("\n") == 1


def test_the_installed_entry_point_runs_with_a_named_configuration(
    project: Path,
) -> None:
    done = kedro(
        project,
        f"--conf-source={project / 'conf'}",
        "--params=preset=unknown",
        module="sidiff",
    )
    assert done.returncode == 1
    assert "There is no preset unknown" in done.stderr


@pytest.mark.parametrize(
    "problem",
    [
        OSError(ENOSPC, "No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk_is_one_sentence_whoever_meets_it(problem: Exception) -> None:
    def callback() -> None:
        try:
            raise problem
        except type(problem):
            raise RuntimeError("a library's own words") from None

    done = CliRunner().invoke(RunCommand(name="run", callback=callback))
    assert done.exit_code == 1
    assert done.output.startswith("Error: The disk is full; free some space")
    assert done.output.count("\n") == 1


def test_a_sentence_is_found_behind_other_errors() -> None:
    inner = SidiffError("do this")
    outer = RuntimeError("wrapped")
    outer.__cause__ = inner
    assert find_problem(outer) is inner
    assert find_problem(RuntimeError("a defect")) is None
