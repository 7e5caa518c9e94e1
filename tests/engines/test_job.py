"""What is carried to other processes arrives as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidiff.decoding.lattice import Lattice
from sidiff.engines.job import Events, Job, read_result, write_result
from sidiff.reviews.sequences import Sequences
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
    folder = tmp_path / "checkpoints"
    job = Job(sequences, samples, table, parameters(), MAX_HISTORY, lattice, folder)
    job.write(tmp_path)
    read = Job.read(tmp_path)
    assert read.sequences.fingerprint == sequences.fingerprint
    assert read.sequences.user_ids.equals(sequences.user_ids)
    assert np.array_equal(read.samples, samples)
    assert read.table.fingerprint == table.fingerprint
    assert read.parameters == job.parameters
    assert read.max_history == MAX_HISTORY
    assert read.checkpoints == folder
    if lattice is None:
        assert read.lattice is None
    else:
        assert read.lattice is not None
        for name, array in lattice.to_tensors()[0].items():
            assert np.array_equal(read.lattice.to_tensors()[0][name], array), name


def test_a_result_is_read_back(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    fitted, _ = train(None, parameters())
    write_result(tmp_path, fitted)
    read = read_result(tmp_path)
    assert read is not None
    assert read.config == fitted.config
    assert read.history.equals(fitted.history)
    assert read.masking.equals(fitted.masking)
    for name, tensor in fitted.weights.items():
        assert tensor.equal(read.weights[name]), name


def test_events_come_once_and_whole(tmp_path: Path) -> None:
    reader, writer = Events(tmp_path), Events(tmp_path)
    assert list(reader.read()) == []
    writer.write("log", [20, "a", "line\nbreak"])
    with (tmp_path / "events.ndjson").open("a") as file:
        file.write('["epoch", [1, {"lo')
    assert list(reader.read()) == [("log", [20, "a", "line\nbreak"])]
    writer.write("epoch", [1, {"loss": float("inf")}])
    assert list(reader.read()) == [("epoch", [1, {"loss": float("inf")}])]
    assert list(reader.read()) == []
