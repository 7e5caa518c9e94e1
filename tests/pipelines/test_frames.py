from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
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
        "sequences": SEQUENCES.fingerprint,
    }
)


def test_sequences_and_samples_round_trip(tmp_path: Path) -> None:
    samples = np.array([[0, 0, 3], [1, 0, 1]], dtype=np.int32)
    frames.sequences_to_frame(SEQUENCES).write_parquet(tmp_path / "sequences")
    frames.samples_to_frame(samples, SEQUENCES).write_parquet(tmp_path / "samples")
    again = frames.to_sequences(pl.read_parquet(tmp_path / "sequences"), CATALOGUE)
    assert again.fingerprint == SEQUENCES.fingerprint
    stored = pl.read_parquet(tmp_path / "samples")
    np.testing.assert_array_equal(frames.to_samples(stored, again, 50), samples)


@pytest.mark.parametrize("ids", [["a", "b"], ["b", "a", "c"]])
def test_rows_of_another_catalogue_are_refused(ids: list[str]) -> None:
    vectors = pl.Series([[1.0, 0.0]] * len(ids), dtype=pl.Array(pl.Float32, 2))
    embeddings = pl.DataFrame({"item_id": ids, "embedding": vectors})
    table = pl.DataFrame({"item_id": ids, "codes_per_digit": 2, "code_0": 1})
    with pytest.raises(SidiffError, match="--pipeline=embedding"):
        frames.to_embeddings(embeddings, CATALOGUE, "item_embeddings")
    with pytest.raises(SidiffError, match="--pipeline=tokenization"):
        frames.to_sid_table(table, CATALOGUE)


def test_trained_items() -> None:
    assert frames.to_trained(CATALOGUE).tolist() == [True, False, True]
