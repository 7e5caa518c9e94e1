"""What is carried to other processes arrives as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from sidiff.decoding.lattice import Lattice
from sidiff.engines.exchange import FolderExchange
from sidiff.engines.job import Job, result_from_bytes, result_to_bytes
from sidiff.reviews.sequences import Sequences
from sidiff.snapshots import Snapshot, SnapshotFolder
from tests.training.crashing import MAX_HISTORY, parameters, shop, train


@pytest.mark.parametrize("with_lattice", [False, True])
def test_a_job_is_read_back(tmp_path: Path, with_lattice: bool) -> None:
    sequences, samples, table = shop()
    strange = pl.Series(['a"b', "c\nd", "e,f", "\u2028", *map(str, range(20))])
    sequences = Sequences(
        sequences.items, sequences.offsets, sequences.user_ids, strange
    )
    lattice = None
    if with_lattice:
        codes = table.groups().sid_codes
        lattice = Lattice.build(codes, table.codes_per_digit)
    (tmp_path / "checkpoints").mkdir()
    kept = SnapshotFolder(Path("checkpoints"), DirFileSystem(str(tmp_path)))
    job = Job(sequences, samples, table, parameters(), MAX_HISTORY, lattice, kept)
    read = Job.from_bytes(job.to_bytes())
    assert read.sequences.fingerprint == sequences.fingerprint
    assert read.sequences.user_ids.equals(sequences.user_ids)
    assert np.array_equal(read.samples, samples)
    assert read.table.fingerprint == table.fingerprint
    assert read.parameters == job.parameters
    assert read.max_history == MAX_HISTORY
    assert read.checkpoints is not None
    read.checkpoints.write("a", Snapshot({}, {"b": 1}))
    assert kept.names() == ["a"]
    if lattice is None:
        assert read.lattice is None
    else:
        assert read.lattice is not None
        for name, array in lattice.to_tensors()[0].items():
            assert np.array_equal(read.lattice.to_tensors()[0][name], array), name


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
    assert writer.job() == b"job"
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
