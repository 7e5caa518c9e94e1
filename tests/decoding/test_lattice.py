"""The lattice against brute force over random catalogues."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.decoding.lattice import MAX_DIGITS, Lattice
from sidiff.errors import SidiffError


@settings(max_examples=60, deadline=None)
@given(
    digits=st.integers(1, 6),
    codes=st.integers(2, 5),
    items=st.integers(1, 40),
    seed=st.integers(0, 10_000),
)
def test_continuations_are_those_of_the_items(digits, codes, items, seed) -> None:
    rng = np.random.default_rng(seed)
    sids = np.unique(rng.integers(0, codes, (items, digits)), axis=0)
    rng.shuffle(sids)
    lattice = Lattice.build(sids, codes)
    for order in itertools.islice(itertools.permutations(range(digits)), 8):
        for target in sids[:4]:
            node, rest = torch.tensor([lattice.root]), sids
            for digit in order:
                allowed = {
                    tuple(pair) for pair in lattice.allowed(node)[0].nonzero().tolist()
                }
                filled = order[: order.index(digit)]
                expected = {
                    (d, int(sid[d]))
                    for sid in rest
                    for d in range(digits)
                    if d not in filled
                }
                assert allowed == expected
                node = lattice.follow(
                    node, torch.tensor([digit]), torch.tensor([int(target[digit])])
                )
                rest = rest[rest[:, digit] == target[digit]]
            row = int(lattice.rows[node])
            assert sids[row].tolist() == target.tolist()
            assert not lattice.allowed(node).any()


def test_nodes_are_the_distinct_partial_sids() -> None:
    rng = np.random.default_rng(0)
    sids = np.unique(rng.integers(0, 3, (30, 4)), axis=0)
    lattice = Lattice.build(sids, 3)
    partial = {
        tuple(-1 if d in hidden else int(sid[d]) for d in range(4))
        for sid in sids
        for n in range(5)
        for hidden in itertools.combinations(range(4), n)
    }
    assert len(lattice.rows) == len(partial)
    edges = sum(state.count(-1) < 4 and 4 - state.count(-1) for state in partial)
    assert len(lattice.edges) == edges
    assert sorted(lattice.rows[lattice.rows >= 0].tolist()) == list(range(len(sids)))


def test_shapes_are_kept() -> None:
    lattice = Lattice.build(np.array([[0, 1], [1, 0]]), 2)
    nodes = torch.full((3, 4), lattice.root)
    assert lattice.allowed(nodes).shape == (3, 4, 2, 2)
    one = torch.zeros(3, 4, dtype=torch.int64)
    assert lattice.follow(nodes, one, one).shape == (3, 4)


def test_too_many_digits_are_refused() -> None:
    with pytest.raises(SidiffError, match="at most 8 digits"):
        Lattice.build(np.zeros((1, MAX_DIGITS + 1), dtype=np.int64), 4)
