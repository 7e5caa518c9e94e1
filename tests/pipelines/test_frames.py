from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sidiff.pipelines import frames
from sidiff.reviews.sequences import Sequences

SEQUENCES = Sequences(
    np.array([0, 1, 2, 0, 2, 1], dtype=np.int32),
    np.array([0, 4, 6]),
    pl.Series(["u", "v"]),
    pl.Series("item_id", ["a", "b", "c"]),
)
CATALOGUE = pl.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "in_training": [True, False, True],
    }
)


def test_sequences_and_samples_round_trip(tmp_path: Path) -> None:
    samples = np.array([[0, 0, 3], [1, 0, 1]], dtype=np.int32)
    SEQUENCES.to_frame().write_parquet(tmp_path / "sequences")
    frames.samples_to_frame(samples).write_parquet(tmp_path / "samples")
    again = frames.to_sequences(pl.read_parquet(tmp_path / "sequences"), CATALOGUE)
    assert again.fingerprint == SEQUENCES.fingerprint
    stored = pl.read_parquet(tmp_path / "samples")
    np.testing.assert_array_equal(frames.to_samples(stored, 50), samples)


def test_trained_items() -> None:
    assert frames.to_trained(CATALOGUE).tolist() == [True, False, True]
