from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.pipelines import frames

CATALOGUE = pl.DataFrame(
    {"item_id": ["a", "b", "c"], "in_training": [True, False, True]}
)
SEQUENCES = pl.DataFrame({"user_id": ["u", "v"], "items": [[0, 1, 2, 0], [2, 1]]})


def test_samples_round_trip() -> None:
    sequences = frames.to_sequences(SEQUENCES, CATALOGUE)
    samples = np.array([[0, 0, 3], [1, 0, 1]], dtype=np.int32)
    frame = frames.samples_to_frame(samples)
    np.testing.assert_array_equal(frames.to_samples(frame, sequences, 50), samples)


@pytest.mark.parametrize("row", [(2, 0, 1), (0, 0, 4), (1, 1, 2)])
def test_samples_of_other_sequences_are_refused(row: tuple[int, int, int]) -> None:
    sequences = frames.to_sequences(SEQUENCES, CATALOGUE)
    frame = frames.samples_to_frame(np.array([row], dtype=np.int32))
    with pytest.raises(SidiffError, match="other sequences"):
        frames.to_samples(frame, sequences, 50)


@pytest.mark.parametrize("ids", [["a", "b"], ["b", "a", "c"]])
def test_rows_of_another_catalogue_are_refused(ids: list[str]) -> None:
    vectors = pl.Series([[1.0, 0.0]] * len(ids), dtype=pl.Array(pl.Float32, 2))
    embeddings = pl.DataFrame({"item_id": ids, "embedding": vectors})
    table = pl.DataFrame({"item_id": ids, "codes_per_digit": 2, "code_0": 1})
    with pytest.raises(SidiffError, match="--pipeline=embedding"):
        frames.to_embeddings(embeddings, CATALOGUE)
    with pytest.raises(SidiffError, match="--pipeline=tokenization"):
        frames.to_sid_table(table, CATALOGUE)


def test_trained_items() -> None:
    assert frames.to_trained(CATALOGUE).tolist() == [True, False, True]
