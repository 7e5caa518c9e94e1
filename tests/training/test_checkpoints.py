"""A training that is killed ends as one that was not, to the last bit."""

from __future__ import annotations

import logging
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch

from sidiff.snapshots import SnapshotFolder
from sidiff.training.loop import DenoiserTask, Fitted
from sidiff.training.trainer import Trainer
from tests.training.crashing import (
    KINDS,
    parameters,
    shop,
    train,
    train_in_a_process,
)


@pytest.fixture(scope="module", params=KINDS)
def posterior(request: pytest.FixtureRequest) -> str:
    """The kind of network that is trained."""
    return request.param


@pytest.fixture(scope="module")
def uninterrupted(posterior: str) -> Fitted:
    """A training that nobody stops."""
    return train(None, parameters(posterior))[0]


class Stop(Exception):
    """Ends a training in the middle, as a crash does."""


def same(one: Fitted, other: Fitted) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name
    assert one.config == other.config
    assert one.history.equals(other.history)
    assert one.masking.equals(other.masking)


def step_of(folder: Path) -> int:
    """The last step that is written down; 0 if there is none."""
    steps = [0]
    for name in SnapshotFolder(folder).names():
        snapshot = SnapshotFolder(folder).read(name)
        assert snapshot is not None, "a kill left a damaged checkpoint"
        steps.append(snapshot.metadata["step"])
    return max(steps)


def test_killed_at_random_moments(
    tmp_path: Path, uninterrupted: Fitted, posterior: str
) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.training.crashing"])
    chance = random.Random(0)
    steps = [0]
    for _ in range(8):
        process = processes.Process(
            target=train_in_a_process, args=(tmp_path, posterior)
        )
        process.start()
        # However fast the machine is: a few steps further, and then at any moment.
        goal = steps[-1] + chance.randint(1, 5)
        while process.is_alive() and step_of(tmp_path) < goal:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.02))
        process.kill()
        process.join()
        steps.append(step_of(tmp_path))
        if process.exitcode == 0:
            break
    assert steps == sorted(steps), "a resumption fell back behind its checkpoint"
    assert len(set(steps)) >= 4, f"it was killed at the steps {steps} only"
    resumed, epochs = train(tmp_path, parameters(posterior))
    same(resumed, uninterrupted)
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize("steps", [1, 7, 30, 40])
def test_stopped_after_any_step(
    tmp_path: Path,
    uninterrupted: Fitted,
    posterior: str,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also between the last step of an epoch and its validation."""
    original, taken = Trainer.step, []

    def some(self: object, *arguments: object) -> object:
        if len(taken) == steps:
            raise Stop
        taken.append(None)
        return original(self, *arguments)

    def no(self: object, *_: object) -> None:
        raise Stop

    for owner, name, patch in (
        (Trainer, "step", some),
        (DenoiserTask, "validate", no),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, patch)
            with pytest.raises(Stop):
                train(tmp_path, parameters(posterior))
    same(train(tmp_path, parameters(posterior))[0], uninterrupted)


def test_a_curriculum_goes_on_where_it_was(
    tmp_path: Path, posterior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noising = {"amount": "curriculum", "order": "history"}
    given = parameters(
        posterior, **{f"noising.{name}": value for name, value in noising.items()}
    )
    original, taken = Trainer.step, []

    def some(self: object, *arguments: object) -> object:
        if len(taken) == 7:
            raise Stop
        taken.append(None)
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", some)
        with pytest.raises(Stop):
            train(tmp_path, given)
    whole = train(None, given)[0]
    same(train(tmp_path, given)[0], whole)
    views = whole.masking.filter(of="views", epoch=1)["share"].to_list()
    assert views[1] > views[-1]  # it does begin with the easy ones


def test_a_finished_training_is_not_repeated(
    tmp_path: Path,
    uninterrupted: Fitted,
    posterior: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(tmp_path, parameters(posterior))

    def no(self: object, *_: object) -> None:
        raise Stop

    monkeypatch.setattr(Trainer, "step", no)
    same(train(tmp_path, parameters(posterior))[0], uninterrupted)


@pytest.mark.parametrize("change", ["seed", "learning rate", "samples"])
def test_another_run_starts_anew(
    tmp_path: Path, posterior: str, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = {
        "seed": parameters(posterior, seed=2),
        "learning rate": parameters(posterior, **{"optimizer.learning_rate": 0.1}),
        "samples": parameters(posterior),
    }[change]
    samples = shop()[1][:-1] if change == "samples" else None
    if samples is not None and posterior == "items":
        # It trains whole sequences, whatever the samples of single targets are.
        same(train(None, other, samples)[0], train(None, other)[0])
        return
    train(tmp_path, parameters(posterior))
    with caplog.at_level(logging.INFO):
        anew, _ = train(tmp_path, other, samples)
    assert "starts anew: 1 checkpoint(s)" in caplog.text
    same(anew, train(None, other, samples)[0])
    assert len(SnapshotFolder(tmp_path).names()) == 2


def test_the_rhythm_of_checkpoints_decides_nothing(
    tmp_path: Path, uninterrupted: Fitted, posterior: str
) -> None:
    train(tmp_path, parameters(posterior, checkpoint_seconds=3600.0, epochs=3))
    assert len(SnapshotFolder(tmp_path).names()) == 1
    same(train(tmp_path, parameters(posterior))[0], uninterrupted)


def test_a_damaged_checkpoint_is_not_used(
    tmp_path: Path,
    uninterrupted: Fitted,
    posterior: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    train(tmp_path, parameters(posterior))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    same(train(tmp_path, parameters(posterior))[0], uninterrupted)
    assert "is damaged" in caplog.text
