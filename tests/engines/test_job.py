"""What is carried to other processes arrives as it was."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from sidiff.engines.exchange import FolderExchange, reported
from sidiff.engines.job import (
    checkpoints_to_json,
    from_bytes,
    result_from_bytes,
    result_to_bytes,
    to_bytes,
)
from sidiff.engines.launch import _Reports
from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences
from sidiff.snapshots import Snapshot, SnapshotFolder
from sidiff.storage import StorageError
from sidiff.training.denoising import Job
from tests.training.crashing import MAX_HISTORY, parameters, shop, train


def test_a_job_is_read_back(tmp_path: Path) -> None:
    sequences, samples, table = shop()
    strange = pl.Series(['a"b', "c\nd", "e,f", "\u2028", *map(str, range(20))])
    sequences = Sequences(
        sequences.items, sequences.offsets, sequences.user_ids, strange
    )
    (tmp_path / "checkpoints").mkdir()
    kept = SnapshotFolder(Path("checkpoints"), DirFileSystem(str(tmp_path)))
    job = Job(sequences, samples, table, parameters(), MAX_HISTORY, kept)
    read = from_bytes(to_bytes(job), checkpoints_to_json(kept))
    assert read.sequences.fingerprint == sequences.fingerprint
    assert read.sequences.user_ids.equals(sequences.user_ids)
    assert np.array_equal(read.samples, samples)
    assert read.table.fingerprint == table.fingerprint
    assert read.parameters == job.parameters
    assert read.max_history == MAX_HISTORY
    assert read.checkpoints is not None
    read.checkpoints.write("a", Snapshot({}, {"b": 1}))
    assert kept.names() == ["a"]


def test_ids_are_in_the_body_of_a_job_not_in_its_header() -> None:
    """A header of a safetensors file holds 100 MB, a fraction of a large shop's ids."""

    def header(users: int) -> int:
        sequences, samples, table = shop()
        more = pl.Series([f"a user with a long name, {n}" for n in range(users)])
        offsets = np.append(sequences.offsets, [sequences.offsets[-1]] * users)
        ids = sequences.user_ids.append(more)
        sequences = Sequences(sequences.items, offsets, ids, sequences.item_ids)
        content = to_bytes(Job(sequences, samples, table, parameters(), MAX_HISTORY))
        read = from_bytes(content, "null")
        assert read.sequences.user_ids.equals(ids)
        # Behind the digest of 32 bytes.
        return int.from_bytes(content[32:40], "little")

    assert header(50_000) - header(5) < 1000


def test_a_job_does_not_hold_the_stores_secret(tmp_path: Path) -> None:
    sequences, samples, table = shop()
    files = fsspec.filesystem("s3", key="who", secret="hush-hush")  # noqa: S106
    kept = SnapshotFolder(tmp_path, files)
    job = Job(sequences, samples, table, parameters(), MAX_HISTORY, kept)
    assert b"hush-hush" not in to_bytes(job)
    assert "hush-hush" in checkpoints_to_json(kept)


def test_a_result_is_read_back() -> None:
    fitted, _ = train(None, parameters())
    read = result_from_bytes(result_to_bytes(fitted))
    assert read.config == fitted.config
    assert read.history.equals(fitted.history)
    assert read.masking.equals(fitted.masking)
    for name, tensor in fitted.weights.items():
        assert tensor.equal(read.weights[name]), name


def test_events_come_once_and_whole(tmp_path: Path) -> None:
    reader, writer = FolderExchange(tmp_path, b"job"), FolderExchange(tmp_path)
    assert reader.result() is None
    assert list(reader.events()) == []
    writer.report("log", [20, "a", "line\nbreak"])
    with (tmp_path / "events.ndjson").open("a") as file:
        file.write('["epoch", [1, {"lo')
    assert list(reader.events()) == [("log", [20, "a", "line\nbreak"])]
    writer.report("epoch", [1, {"loss": float("inf")}])
    assert list(reader.events()) == [("epoch", [1, {"loss": float("inf")}])]
    assert list(reader.events()) == []
    writer.finish(b"result")
    assert reader.result() == b"result"


def test_errors_are_reported_and_only_some_are_final(tmp_path: Path) -> None:
    exchange = FolderExchange(tmp_path, b"job")
    reports = _Reports(lambda *_: None)
    with pytest.raises(StorageError), reported(exchange):
        raise StorageError("the store is away")
    with pytest.raises(ValueError, match="lost"), reported(exchange):
        raise ValueError("connection lost")
    reports.forward(FolderExchange(tmp_path))
    assert reports.refused is None
    assert reports.failed == "the store is away"
    with reported(exchange):
        raise SidiffError("do something else")
    reports.forward(FolderExchange(tmp_path))
    assert reports.refused == "do something else"
