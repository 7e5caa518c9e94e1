"""Repair of collisions: properties, and the assignment against all permutations."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.collisions import TOGETHER, repair
from sidiff.sids.quantizers import Quantizer
from tests.sids.test_candidates import Kind, quantizer_of

Codes = NDArray[np.uint16]
CODES = hnp.arrays(
    np.uint16, st.tuples(st.integers(1, 27), st.just(3)), elements=st.integers(0, 2)
)


def rows(codes: Codes) -> list[tuple[int, ...]]:
    return [tuple(row) for row in codes.tolist()]


def quantized(kind: Kind, codes: Codes) -> tuple[Quantizer, NDArray[np.float32]]:
    """A quantizer, and vectors near what the codes stand for."""
    quantizer = quantizer_of(kind, 3, 3, 0)
    words = quantizer.reconstruct(codes)
    noise = np.random.default_rng(0).normal(size=words.shape)
    return quantizer, (words + 0.1 * noise).astype(np.float32)


def nobody(codes: Codes) -> NDArray[np.bool_]:
    return np.zeros(len(codes), dtype=bool)


@given(CODES, st.sampled_from(["opq", "rq_kmeans"]))
def test_repair_gives_uniqueness_and_keeps_untouched_items(
    codes: Codes, kind: Kind
) -> None:
    sizes = Counter(rows(codes))
    repaired = repair(codes, nobody(codes), *quantized(kind, codes))
    assert len(set(rows(repaired))) == len(codes)
    assert repaired.dtype == np.uint16
    alone = [sizes[sid] == 1 for sid in rows(codes)]
    assert (repaired[alone] == codes[alone]).all()
    kept = Counter(
        old for old, new in zip(rows(codes), rows(repaired), strict=True) if old == new
    )
    assert kept == dict.fromkeys(sizes, 1)


@given(
    st.sampled_from(["opq", "rq_kmeans"]), st.integers(0, 10_000), st.integers(1, 27)
)
def test_repair_by_error_is_unique_and_the_best_fitting_item_stays(
    kind: Kind, seed: int, items: int
) -> None:
    quantizer = quantizer_of(kind, 3, 3, seed)
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(items, quantizer.dimensions)).astype(np.float32)
    x[items // 2 :] = x[: items - items // 2]  # and some equal ones
    codes = quantizer.encode(x)

    repaired = repair(codes, nobody(codes), quantizer, x)

    assert len(set(rows(repaired))) == items
    errors = ((x.astype(float) - quantizer.reconstruct(codes)) ** 2).sum(axis=1)
    groups = defaultdict(list)
    for item, sid in enumerate(rows(codes)):
        groups[sid].append(item)
    for sid, members in groups.items():
        best = min(members, key=lambda item: (errors[item], item))
        assert tuple(repaired[best].tolist()) == sid
    again = repair(codes, nobody(codes), quantizer, x)
    assert (repaired == again).all()


@pytest.mark.parametrize("kind", ["opq", "rq_kmeans"])
@pytest.mark.parametrize("seed", range(8))
def test_a_group_is_assigned_at_the_least_added_error(kind: Kind, seed: int) -> None:
    """Four items of one SID: three move, and no choice of free SIDs is better."""
    quantizer = quantizer_of(kind, 2, 3, seed)
    generator = np.random.default_rng(seed)
    centre = quantizer.reconstruct(np.array([[1, 1]]))
    x = centre + 0.05 * generator.normal(size=(4, quantizer.dimensions))
    x = x.astype(np.float32)
    other = quantizer.reconstruct(np.array([[1, 0]])).astype(np.float32)
    x = np.concatenate([x, other])  # somebody who is not to be disturbed
    codes = np.array([[1, 1]] * 4 + [[1, 0]], dtype=np.uint16)

    repaired = repair(codes, nobody(codes), quantizer, x)

    def error(item: int, sid: tuple[int, ...]) -> float:
        word = quantizer.reconstruct(np.array([sid]))[0].astype(float)
        return float(((x[item].astype(float) - word) ** 2).sum())

    keeper = min(range(4), key=lambda item: error(item, (1, 1)))
    movers = [item for item in range(4) if item != keeper]
    free = [sid for sid in product(range(3), repeat=2) if sid not in {(1, 1), (1, 0)}]
    least = min(
        sum(error(item, sid) for item, sid in zip(movers, choice, strict=True))
        for choice in permutations(free, 3)
    )
    found = sum(error(item, tuple(repaired[item].tolist())) for item in movers)
    assert found == pytest.approx(least, rel=1e-4)
    assert rows(repaired)[4] == (1, 0)


@given(CODES, CODES, st.sampled_from(["opq", "rq_kmeans"]))
def test_settled_items_stay_when_others_come(
    old: Codes, new: Codes, kind: Kind
) -> None:
    """As many as fit; and the free SIDs may run out to the very last."""
    settled_codes = repair(old, nobody(old), *quantized(kind, old))
    new = new[: 27 - len(old)]
    codes = np.concatenate([new, settled_codes])
    settled = np.arange(len(codes)) >= len(new)

    repaired = repair(codes, settled, *quantized(kind, codes))

    assert (repaired[settled] == settled_codes).all()
    assert len(set(rows(repaired))) == len(codes)


def test_crowds_larger_than_a_portion() -> None:
    generator = np.random.default_rng(0)
    quantizer = quantizer_of("opq", 3, 16, 0)
    x = np.repeat(generator.normal(size=(2, 12)), 2 * TOGETHER, axis=0)
    x = (x + 1e-3 * generator.normal(size=x.shape)).astype(np.float32)
    codes = np.zeros((len(x), 3), dtype=np.uint16)
    assert len(set(rows(repair(codes, nobody(codes), quantizer, x)))) == len(x)


def test_more_items_than_ids_are_refused() -> None:
    codes = np.zeros((10, 2), dtype=np.uint16)
    quantizer = quantizer_of("opq", 2, 3, 0)
    with pytest.raises(SidiffError, match="Only 9 semantic IDs are possible for 10"):
        repair(codes, nobody(codes), quantizer, np.zeros((10, 8), np.float32))
