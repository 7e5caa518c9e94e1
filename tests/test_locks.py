"""Locks between real processes, as two runs have them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidiff.errors import SidiffError
from sidiff.locks import LOCKS, RunLock

OTHER_RUN = """
import json, os, sys, time
from pathlib import Path
from sidiff.locks import RunLock

folder, writes, reads, forks = json.loads(sys.argv[1])
lock = RunLock()
lock.take(Path(folder), writes, reads)
child = os.fork() if forks else None
if child == 0:
    time.sleep(60)
print(child, flush=True)
sys.stdin.readline()
lock.give_back()
print("given back", flush=True)
sys.stdin.readline()
"""

Other = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    """Start a process that holds locks until it is written to."""
    started: list[subprocess.Popen[str]] = []

    def start(
        writes: dict[str, str], reads: dict[str, str] | None = None, forks: bool = False
    ) -> subprocess.Popen[str]:
        given = json.dumps([str(tmp_path), writes, reads or {}, forks])
        process = subprocess.Popen(  # noqa: S603 (our own arguments)
            [sys.executable, "-c", OTHER_RUN, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize(
    ("theirs", "mine", "sentence"),
    [
        (({"a": "x"}, {}), ({"b": "x"}, {}), "Another run reads or writes b at x now"),
        (({"a": "x"}, {}), ({"b": "y"}, {"a": "x"}), "Another run writes a at x now"),
        (({"a": "x"}, {"b": "y"}), ({"b": "y"}, {}), "reads or writes b at y now"),
        (({"a": "x"}, {"b": "y"}), ({"c": "z"}, {"b": "y"}), None),
        (({"a": "x"}, {}), ({"a": "y"}, {}), None),
        (
            ({"a": "x"}, {"previous_a": "x"}),
            ({"b": "y"}, {"a": "x"}),
            "Another run writes a at x now",
        ),
    ],
)
def test_a_writer_is_alone_and_readers_are_not(
    tmp_path: Path, other: Other, theirs: Any, mine: Any, sentence: str | None
) -> None:
    process = other(*theirs)
    assert line(process) == "None"
    lock = RunLock()
    if sentence is None:
        lock.take(tmp_path, *mine)
        lock.give_back()
        return
    with pytest.raises(SidiffError, match=sentence):
        lock.take(tmp_path, *mine)
    tell(process)
    assert line(process) == "given back"
    lock.take(tmp_path, *mine)
    lock.give_back()


def test_a_refused_run_locks_nothing(tmp_path: Path, other: Other) -> None:
    first = other({"b": "y"})
    assert line(first) == "None"
    with pytest.raises(SidiffError, match="at y now"):
        RunLock().take(tmp_path, {"a": "x", "b": "y"}, {})
    second = other({"a": "x"})
    assert line(second) == "None"


def test_a_run_that_reads_only_locks_nothing(tmp_path: Path, other: Other) -> None:
    assert line(other({"a": "x"})) == "None"
    RunLock().take(tmp_path, {}, {"a": "x"})


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_run_leaves_no_lock_and_its_workers_none(
    tmp_path: Path, other: Other, forks: bool
) -> None:
    process = other({"a": "x"}, forks=forks)
    child = line(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        assert (tmp_path / LOCKS).exists()
        lock = RunLock()
        lock.take(tmp_path, {"a": "x"}, {})
        lock.give_back()
    finally:
        if forks:
            os.kill(int(child), signal.SIGKILL)


def test_one_lock_after_another_in_one_process(tmp_path: Path, other: Other) -> None:
    lock = RunLock()
    lock.take(tmp_path, {"a": "x"}, {})
    lock.take(tmp_path, {"b": "y"}, {})  # an earlier run broke off without a word
    assert line(other({"a": "x"})) == "None"
    lock.give_back()
    lock.give_back()


def test_a_place_without_locks_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    RunLock().take(tmp_path / "file", {"a": "x"}, {})
    (message,) = caplog.messages
    assert message.startswith("Other runs at the same place are not locked out: ")
    assert message.endswith("cannot be locked (File exists).")
