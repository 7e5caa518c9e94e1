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
from hypothesis import given
from hypothesis import strategies as st

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
        (["--params=training.epochs=0"], "must be greater than or equal to 1."),
        (["--params=training.epcohs=5"], "did you mean training.epochs?"),
        (["--params=preset=papre"], "must be 'sidiff', 'paper' or 'release'."),
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
        ("--pipeline=zzz", "no pipeline zzz (known: sample_data, ingestion, "),
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


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("dataset=0042", "0042"),
        ("dataset=1e5", "1e5"),
        ("dataset=true", "true"),
        ("dataset=null", "null"),
        ("dataset=2026-03-31", "2026-03-31"),
        ("raw_reviews={storage}/a #1.csv", "{storage}/a #1.csv"),
        ("raw_reviews=logs/[ab]=1: x.csv", "logs/[ab]=1: x.csv"),
        ("ingestion.interactions.user=1", "1"),
        ("ingestion.interactions.rating=007", "007"),
        ("ingestion.interactions.rating=null", None),
        ("ingestion.items.fields.title=1e5", "1e5"),
        ('dataset="0042"', "0042"),  # quoted, as YAML has it
        ("training.epochs=007", 7),
        ("training.optimizer.learning_rate=1e-3", 0.001),
        ("evaluation.exclude_seen=true", True),
        ("tokenization.codebook_size=64", 64),
        ("evaluation.decoders.cpd.method=two_stage", "two_stage"),
        ("evaluation.decoders.mine.beam=8", 8),
        ("ray.address=null", None),
    ],
)
def test_a_text_stays_as_typed_and_anything_else_is_yaml(
    typed: str, value: object
) -> None:
    *groups, last = typed.partition("=")[0].split(".")
    both = f"--params=training.seed=5,{typed},training.threads=2"
    place = run.make_context("run", [both]).params["params"]
    assert place["training"]["seed"] == 5
    assert place["training"]["threads"] == 2
    for group in groups:
        place = place[group]
    assert place[last] == value
    assert type(place[last]) is type(value)


@given(st.text("0123456789_.-eExXtruefalsnNyYoO~+:#{}[]*& ", min_size=1))
def test_any_name_stays_as_typed(name: str) -> None:
    context = run.make_context("run", [f"--params=storage={name}"])
    assert context.params["params"] == {"storage": name.strip()}


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
    assert 'preset is "unknown"' in done.stderr


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
