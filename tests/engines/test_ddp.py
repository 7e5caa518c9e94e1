"""Two processes train what one does, and go on when one of them is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sidiff.engines.launch import train
from sidiff.errors import SidiffError
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted, fit
from sidiff.training.settings import TrainingParameters
from tests.training.crashing import MAX_HISTORY, parameters, shop

EVERYTHING = {
    "network.dropout": 0.1,
    "network.residual_dropout": 0.2,
    "partial_weight": 0.5,
}
UNEVEN = {
    # 5 parts for 2 workers, and a last batch of one part.
    "items": {"batch_size": 29, "samples_per_pass": 6},
    # A random order: what the model is sure of turns on the rounding of sums.
    "digits": {"batch_size": 40, "samples_per_pass": 8, "noising.order": "random"},
}
MORE = {
    "items": {"workers": 3, "batch_size": 12, "samples_per_pass": 3},
    "digits": {"workers": 3, "samples_per_pass": 8},
}


def on(
    engine: str,
    checkpoints: Path | None = None,
    posterior: str = "items",
    **changes: object,
) -> Fitted:
    kept = None if checkpoints is None else SnapshotFolder(checkpoints)
    sequences, samples, table = shop()
    asked = parameters(posterior, **{"engine": engine, "workers": 2} | changes)
    job = Job(sequences, samples, table, asked, MAX_HISTORY, kept)
    return train(job, lambda *_: None)


def close(one: Fitted, other: Fitted) -> None:
    """The same but for the rounding of sums."""
    assert one.masking.equals(other.masking)
    assert one.history.columns == other.history.columns
    for name in one.history.columns:
        assert one.history[name].to_list() == pytest.approx(
            other.history[name].to_list(), abs=1e-5, nan_ok=True
        ), name
    for name, tensor in one.weights.items():
        torch.testing.assert_close(tensor, other.weights[name], rtol=1e-4, atol=1e-5)
    assert {**one.config, "best_score": 0} == {**other.config, "best_score": 0}


def same(one: Fitted, other: Fitted) -> None:
    """To the last bit."""
    close(one, other)
    assert one.history.equals(other.history)
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


@pytest.mark.parametrize("posterior", ["items", "digits"])
@pytest.mark.parametrize("asked", [{}, UNEVEN, MORE])
def test_it_is_the_training_of_one_process(
    posterior: str, asked: dict[str, dict[str, object]]
) -> None:
    changes = asked.get(posterior, {}) | (EVERYTHING if asked is UNEVEN else {})
    close(
        on("ddp", posterior=posterior, **changes),
        on("local", posterior=posterior, **changes),
    )


def test_figures_and_log_reach_the_process_that_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sidiff")
    sequences, samples, table = shop()
    kept, calls = SnapshotFolder(tmp_path), []
    asked = parameters(engine="ddp", workers=2)
    job = Job(sequences, samples, table, asked, MAX_HISTORY, kept)
    fitted = train(job, lambda *call: calls.append((*call, os.getpid())))
    assert [call[0] for call in calls] == [1, 2, 3]
    assert {call[2] for call in calls} == {os.getpid()}
    losses = [call[1]["train/loss"] for call in calls]
    assert losses == fitted.history["train/loss"].to_list()
    lines = [
        r.getMessage() for r in caplog.records if r.name == "sidiff.training.trainer"
    ]
    assert [line.split(":")[0] for line in lines] == [
        "Denoiser, epoch 1 of 3",
        "Denoiser, epoch 3 of 3",
    ]
    assert len(list(tmp_path.iterdir())) == 1
    kept.clear()
    assert not tmp_path.exists(), "the checkpoint of a finished run stays behind"


LONG = {"epochs": 30, "validation.first_epoch": 30}


@pytest.fixture(scope="module")
def uninterrupted() -> Fitted:
    """A training of which no worker is lost."""
    return on("ddp", **LONG)


def children(parent: int) -> Iterator[int]:
    """All processes below ``parent``."""
    tasks = Path(f"/proc/{parent}/task")
    try:
        files = [task / "children" for task in tasks.iterdir()]
        numbers = [int(n) for file in files for n in file.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for number in numbers:
        yield number
        yield from children(number)


def workers(parent: int) -> list[int]:
    """The processes below ``parent`` that train."""

    def trains(process: int) -> bool:
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        launcher = b"sidiff.engines.processes" in words
        return b"sidiff.engines.worker" in words and not launcher

    return sorted(filter(trains, children(parent)))


def wait_for_step(folder: Path, step: int) -> None:
    """Wait until a checkpoint is written of this step or a later one."""
    for _ in range(2400):
        for name in SnapshotFolder(folder).names():
            found = SnapshotFolder(folder).read(name)
            if found is not None and found.metadata["step"] >= step:
                return
        time.sleep(0.05)
    raise AssertionError("no checkpoint in two minutes")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_is_started_again(
    tmp_path: Path, uninterrupted: Fitted, rank: int
) -> None:
    killed: list[int] = []

    def kill() -> None:
        wait_for_step(tmp_path, 20)
        killed.append(workers(os.getpid())[rank])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    fitted = on("ddp", tmp_path, **LONG)
    killer.join()
    assert killed
    same(fitted, uninterrupted)


def test_workers_lost_too_often_are_one_clear_error(tmp_path: Path) -> None:
    def kill() -> None:
        wait_for_step(tmp_path, 5)
        os.kill(workers(os.getpid())[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SidiffError, match=r"training\.restarts \(0\) times"):
        on("ddp", tmp_path, restarts=0, **LONG)
    killer.join()
    reported: list[int] = []
    sequences, samples, table = shop()
    asked = parameters(engine="ddp", workers=2, restarts=0, **LONG)
    kept = SnapshotFolder(tmp_path)
    job = Job(sequences, samples, table, asked, MAX_HISTORY, kept)
    train(job, lambda epoch, _: reported.append(epoch))
    assert reported == list(range(1, 31))


def test_a_killed_launcher_is_one_clear_error(tmp_path: Path) -> None:
    def kill() -> None:
        wait_for_step(tmp_path, 5)
        (launcher,) = {parent(worker) for worker in workers(os.getpid())}
        os.kill(launcher, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SidiffError, match=r"launcher .* was killed \(status -9\)"):
        on("ddp", tmp_path, **LONG)
    killer.join()


def parent(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (found,) = (line for line in status.splitlines() if line.startswith("PPid:"))
    return int(found.split()[1])


def run_with(temporary: Path, checkpoints: Path) -> None:
    tempfile.tempdir = str(temporary)
    on("ddp", checkpoints, **LONG)


def test_workers_end_with_the_run_that_started_them(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, uninterrupted: Fitted
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    process = multiprocessing.get_context("forkserver").Process(
        target=run_with, args=(temporary, tmp_path)
    )
    process.start()
    wait_for_step(tmp_path, 5)
    assert len(list(temporary.iterdir())) == 1
    left = workers(process.pid)
    assert len(left) == 2
    process.kill()
    process.join()
    for _ in range(600):
        if not any(Path(f"/proc/{number}").exists() for number in left):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("workers of a killed run work on")
    assert not list(temporary.iterdir()), "they leave the job behind"
    same(on("ddp", tmp_path, **LONG), uninterrupted)


def test_what_a_worker_refuses_is_the_runs_refusal(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    began = time.monotonic()
    with pytest.raises(SidiffError, match="cannot be written"):
        on("ddp", in_the_way / "checkpoints")
    assert time.monotonic() - began < 120


def test_each_worker_must_have_work() -> None:
    with pytest.raises(ValueError, match=r"must be at least \.workers \(4\)"):
        parameters(engine="ddp", workers=4, batch_size=32, samples_per_pass=16)
    alone: TrainingParameters = parameters(
        engine="local", workers=4, batch_size=32, samples_per_pass=16
    )
    sequences, samples, table = shop()
    fit(Job(sequences, samples, table, alone, MAX_HISTORY), lambda *_: None)
