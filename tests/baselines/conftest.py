"""Small shops: one that is noise, and one whose next item follows from the last."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable


def sequences_of(users: list[list[int]], n_items: int) -> Sequences:
    lengths = [len(items) for items in users]
    return Sequences(
        items=np.concatenate([np.asarray(u, dtype=np.int32) for u in users]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=pl.Series([f"u{i:04}" for i in range(len(users))]),
        item_ids=pl.Series([f"i{i:04}" for i in range(n_items)]),
    )


@pytest.fixture(scope="session")
def noise() -> Sequences:
    rng = np.random.default_rng(0)
    return sequences_of(
        [rng.integers(0, 20, n).tolist() for n in rng.integers(3, 12, 60)], 20
    )


@pytest.fixture(scope="session")
def ring() -> Sequences:
    rng = np.random.default_rng(1)
    return sequences_of(
        [
            ((start + np.arange(n)) % 24).tolist()
            for start, n in zip(
                rng.integers(0, 24, 150), rng.integers(5, 14, 150), strict=True
            )
        ],
        24,
    )


@pytest.fixture(scope="session")
def noise_table(noise: Sequences) -> SidTable:
    codes = np.random.default_rng(3).integers(0, 3, (noise.n_items, 3))
    codes[5] = codes[7] = codes[2]
    return SidTable(codes.astype(np.uint16), noise.item_ids, 3)


@pytest.fixture(scope="session")
def ring_table(ring: Sequences) -> SidTable:
    items = np.arange(ring.n_items)
    third = np.random.default_rng(0).integers(0, 6, ring.n_items)
    codes = np.stack([items // 6, items % 6, third], 1)
    return SidTable(codes.astype(np.uint16), ring.item_ids, 6)
