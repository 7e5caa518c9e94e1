"""What workers report reaches the process that started them as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidiff.decoding.lattice import Lattice
from sidiff.engines.launch import Reports, train
from sidiff.engines.on_ray import Mailbox
from sidiff.engines.worker import absolute, reported
from sidiff.errors import SidiffError
from sidiff.snapshots import Snapshot, SnapshotFolder
from sidiff.storage import StorageError
from sidiff.training.denoising import Job
from tests.training.crashing import MAX_HISTORY, parameters, shop


def test_errors_are_reported_and_only_some_are_final() -> None:
    reports = Reports(lambda *_: None)
    with pytest.raises(StorageError), reported(reports.add):
        raise StorageError("the store is away")
    with pytest.raises(ValueError, match="lost"), reported(reports.add):
        raise ValueError("connection lost")
    assert reports.refused is None
    assert reports.failed == "the store is away"
    with reported(reports.add):
        raise SidiffError("do something else")
    assert reports.refused == "do something else"


def test_a_mailbox_keeps_reports_in_order() -> None:
    mailbox = Mailbox(None)
    for number in range(3):
        mailbox.add("epoch", number)
    assert mailbox.reports(1) == [("epoch", 1), ("epoch", 2)]
    assert not mailbox.refused()
    mailbox.add("refused", "why")
    assert mailbox.refused()


def test_checkpoints_are_found_from_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = absolute(SnapshotFolder(Path("checkpoints")))
    assert kept is not None
    monkeypatch.chdir("/")
    kept.write("a", Snapshot({}, {"b": 1}))
    assert SnapshotFolder(tmp_path / "checkpoints").names() == ["a"]


def test_a_lattice_reaches_the_workers() -> None:
    sequences, samples, table = shop()
    asked = parameters("digits", engine="ddp", workers=1)
    codes = table.groups().sid_codes
    lattice = Lattice.build(codes, table.codebook_size)
    job = Job(sequences, samples, table, asked, MAX_HISTORY, lattice)
    bare = Job(sequences, samples, table, asked, MAX_HISTORY)
    with_it, without = (train(one, lambda *_: None) for one in (job, bare))
    assert with_it.history.equals(without.history)
