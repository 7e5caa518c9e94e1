"""The nearest SIDs, against the enumeration of all of them."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sidiff.sids import collisions
from sidiff.sids.quantizers import QUANTIZERS, Quantizer
from sidiff.sids.quantizers.product import Product

Kind = Literal["opq", "rq_kmeans"]


def quantizer_of(kind: Kind, digits: int, size: int, seed: int) -> Quantizer:
    """Random codebooks of four dimensions a digit; opq is rotated and shifted."""
    generator = np.random.default_rng(seed)
    words = generator.normal(size=(digits, size, 4)).astype(np.float32)
    if kind == "rq_kmeans":
        return QUANTIZERS[kind](codebooks=words)
    width = digits * 4
    rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
    offset = generator.normal(size=width).astype(np.float32)
    return Product(codebooks=words, rotation=rotation.astype(np.float32), offset=offset)


def all_errors(
    quantizer: Quantizer, x: NDArray[np.float32]
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Every possible SID, and its squared error for every vector (n, S)."""
    sids = product(range(quantizer.codebook_size), repeat=quantizer.digits)
    every = np.array(list(sids), dtype=np.uint16)
    words = quantizer.reconstruct(every).astype(np.float64)
    return every, ((x[:, None].astype(np.float64) - words) ** 2).sum(axis=2)


@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 40), st.integers(0, 99))
def test_product_candidates_are_exact(
    digits: int, size: int, count: int, seed: int
) -> None:
    quantizer = quantizer_of("opq", digits, size, seed)
    x = np.random.default_rng(seed).normal(size=(3, digits * 4)).astype(np.float32)
    every, errors = all_errors(quantizer, x)

    sids, costs = collisions.nearest_sids(quantizer, quantizer.aligned(x), count)

    expected = np.sort(errors, axis=1)[:, :count]
    np.testing.assert_allclose(costs, expected, rtol=1e-4, atol=1e-4)
    assert sids.shape == (3, min(count, size**digits), digits)
    for row in range(3):
        own = dict(zip(map(tuple, every.tolist()), errors[row].tolist(), strict=True))
        found = [own.pop(tuple(sid)) for sid in sids[row].tolist()]  # no repetition
        np.testing.assert_allclose(costs[row], found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 7, 64, 1000])
def test_residual_candidates(count: int) -> None:
    quantizer = quantizer_of("rq_kmeans", 3, 4, 1)
    x = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
    _, errors = all_errors(quantizer, x)

    sids, costs = collisions.nearest_sids(quantizer, quantizer.aligned(x), count)

    assert (np.diff(costs, axis=1) >= 0).all()
    words = quantizer.reconstruct(sids.reshape(-1, 3)).reshape(5, -1, 4)
    np.testing.assert_allclose(
        costs, ((x[:, None] - words) ** 2).sum(axis=2), rtol=1e-4, atol=1e-4
    )
    greedy = ((x - quantizer.reconstruct(quantizer.encode(x))) ** 2).sum(axis=1)
    assert (costs[:, 0] <= greedy + 1e-4).all()
    if count >= 64:  # the whole of them
        np.testing.assert_allclose(costs, np.sort(errors, axis=1), rtol=1e-4, atol=1e-4)


def test_the_memory_bound_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = quantizer_of("rq_kmeans", 3, 4, 1)
    x = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    before = collisions.nearest_sids(quantizer, quantizer.aligned(x), 10)
    monkeypatch.setattr(collisions, "NUMBERS_AT_ONCE", 1)
    after = collisions.nearest_sids(quantizer, quantizer.aligned(x), 10)
    assert (before[0] == after[0]).all()
