"""The lattice against brute force over random catalogues."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.decoding.inverted_index import InvertedIndex
from sidiff.decoding.lattice import Lattice, fits


def allowed_steps(lattice: Lattice, node: torch.Tensor) -> torch.Tensor:
    unused = torch.zeros(1, 1, lattice.digits, dtype=torch.int64)
    return lattice.counts(unused, unused.bool(), node)[0, 0] > 0


@settings(max_examples=60)
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
            node, rest = torch.zeros(1, 1, dtype=torch.int64), sids
            for digit in order:
                allowed = {
                    tuple(pair)
                    for pair in allowed_steps(lattice, node).nonzero().tolist()
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
                    node, torch.tensor([[digit]]), torch.tensor([[int(target[digit])]])
                )
                rest = rest[rest[:, digit] == target[digit]]
            row = int(lattice.rows[node])
            assert sids[row].tolist() == target.tolist()
            assert not allowed_steps(lattice, node).any()


def test_nodes_are_the_distinct_partial_sids() -> None:
    rng = np.random.default_rng(0)
    sids = np.unique(rng.integers(0, 3, (30, 4)), axis=0)
    lattice = Lattice.build(sids, 3)
    partial = {
        tuple(-1 if d in masked else int(sid[d]) for d in range(4))
        for sid in sids
        for n in range(5)
        for masked in itertools.combinations(range(4), n)
    }
    assert len(lattice.rows) == len(partial)
    edges = sum(state.count(-1) < 4 and 4 - state.count(-1) for state in partial)
    assert len(lattice.edges) == edges
    assert sorted(lattice.rows[lattice.rows >= 0].tolist()) == list(range(len(sids)))


def test_what_would_be_too_large_does_not_fit() -> None:
    assert fits(1_000_000, 4)
    assert fits(12_101, 8)
    assert not fits(1_000_000, 8)
    assert not fits(1, 16)


@settings(max_examples=60)
@given(
    digits=st.integers(1, 6),
    codes=st.integers(2, 5),
    items=st.integers(1, 40),
    seed=st.integers(0, 10_000),
)
def test_counts_restrictions_and_postings_agree_with_the_items(
    digits, codes, items, seed
) -> None:
    """Every partial state of every SID, with some SIDs taken out."""
    rng = np.random.default_rng(seed)
    sids = np.unique(rng.integers(0, codes, (items, digits)), axis=0)
    kept = rng.random(len(sids)) < 0.6
    lattice = Lattice.build(sids, codes).restrict(torch.from_numpy(kept))
    inverted = InvertedIndex.build(
        torch.from_numpy(sids), codes, torch.from_numpy(kept)
    )
    left = sids[kept]
    states, nodes = [], []
    for target in left[:6]:
        filled = rng.random(digits) < 0.5
        node = torch.zeros(1, dtype=torch.int64)
        for digit in np.flatnonzero(filled):
            code = torch.tensor([int(target[digit])])
            node = lattice.follow(node, torch.tensor([int(digit)]), code)
        states.append((target, filled))
        nodes.append(int(node))
    states.append((sids[0], np.zeros(digits, dtype=bool)))
    nodes.append(0)
    values = torch.from_numpy(np.array([[s for s, _ in states]]))
    masked = ~torch.from_numpy(np.array([[f for _, f in states]]))
    counts = lattice.counts(values, masked, torch.tensor([nodes]))
    # InvertedIndex takes fully masked states only by themselves.
    some = ~masked.all(2)[0]
    listed = torch.empty_like(counts)
    for rows in (some, ~some):
        if rows.any():
            listed[:, rows] = inverted.counts(
                values[:, rows], masked[:, rows], torch.tensor([nodes])[:, rows]
            )
    for place, (target, filled) in enumerate(states):
        agree = left[(left[:, filled] == target[filled]).all(1)]
        for digit in range(digits):
            for code in range(codes):
                expected = 0 if filled[digit] else (agree[:, digit] == code).sum()
                assert counts[0, place, digit, code] == expected
                assert listed[0, place, digit, code] == expected


def test_a_stored_lattice_is_the_same() -> None:
    lattice = Lattice.build(np.array([[0, 1], [1, 0]]), 2)
    again = Lattice.from_tensors(*lattice.to_tensors())
    for name in ("edges", "children", "starts", "rows", "sids"):
        assert torch.equal(getattr(again, name), getattr(lattice, name))
