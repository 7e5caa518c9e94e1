"""CPD against brute force, with a table of random numbers for a denoiser."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from sidiff.decoding import one_pass, scan
from sidiff.decoding.cpd import decode
from sidiff.decoding.search import Search
from sidiff.reference import best_order, cpd
from tests.decoding.catalogues import catalogue_of
from tests.decoding.tables import USERS, TableModel, assert_same, listed
from tests.settings import decoding

DIGITS, CODES = 3, 4
EVERY_SID = catalogue_of(
    np.array(list(itertools.product(range(CODES), repeat=DIGITS))), CODES
)
NOTHING = torch.empty(USERS, 0, dtype=torch.int64)


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_holds_everything_finds_every_sid_by_its_best_order(seed) -> None:
    model = TableModel(seed)
    everything = CODES**DIGITS * math.factorial(DIGITS)
    decoded = decode(
        Search(model, model.memory, decoding(beam=everything), EVERY_SID, NOTHING)
    )
    for user in range(USERS):
        found: dict[tuple[int, ...], float] = {}
        for sid, score in listed(decoded, user):
            found.setdefault(sid, score)
        for sid in itertools.product(range(CODES), repeat=DIGITS):
            best = best_order(partial(model.log_p, user), sid)
            assert found[sid] == pytest.approx(best, abs=1e-4)


WAYS = [
    ("none", "joint"),
    ("none", "greedy"),
    ("max", "joint"),
    ("max", "greedy"),
]


@pytest.mark.parametrize(("merge", "last_step"), WAYS)
@pytest.mark.parametrize("beam", [1, 3, 8, 20, 500])
def test_any_beam_equals_the_plain_search(merge, last_step, beam) -> None:
    model = TableModel(seed=beam)
    p = decoding(beam=beam, merge=merge, last_step=last_step)
    decoded = decode(Search(model, model.memory, p, EVERY_SID, NOTHING))
    for user in range(USERS):
        search = model.search(user, p)
        expected = cpd(search, greedy=last_step == "greedy")
        expected.sort(key=lambda path: -path[1])
        assert_same(listed(decoded, user), expected)


def test_fixed_order_fills_digits_from_first_to_last() -> None:
    model = TableModel(seed=11)
    p = decoding(order="fixed", beam=5)
    decoded = decode(Search(model, model.memory, p, EVERY_SID, NOTHING))
    for user in range(USERS):
        expected = cpd(model.search(user, p), range(DIGITS))
        assert [s for s, _ in listed(decoded, user)] == [s for s, _ in expected]


def test_random_order_is_one_permutation_named_by_its_seed() -> None:
    model = TableModel(seed=12)
    orders = set()
    for seed in range(12):
        p = decoding(order="random", beam=5, seed=seed)
        decoded = decode(Search(model, model.memory, p, EVERY_SID, NOTHING))
        matching = [
            order
            for order in itertools.permutations(range(DIGITS))
            if all(
                [s for s, _ in listed(decoded, user)]
                == [s for s, _ in cpd(model.search(user, p), order)]
                for user in range(USERS)
            )
        ]
        assert len(matching) == 1
        orders.add(matching[0])
        again = decode(Search(model, model.memory, p, EVERY_SID, NOTHING))
        assert torch.equal(decoded.codes, again.codes)
    assert len(orders) > 1


def test_merged_beams_are_distinct_states_and_never_worse() -> None:
    better = 0
    for seed in range(30):
        model = TableModel(seed, spread=1.0)
        plain = decode(
            Search(model, model.memory, decoding(beam=6), EVERY_SID, NOTHING)
        )
        model.states_seen.clear()
        merged = decode(
            Search(
                model, model.memory, decoding(beam=6, merge="max"), EVERY_SID, NOTHING
            )
        )
        assert merged.distinct_states == 1.0
        for states in model.states_seen:
            for row in states.tolist():
                assert len(set(row)) == len(row)
        for user in range(USERS):
            top_plain = {s for s, _ in listed(plain, user)}
            top_merged = [s for s, _ in listed(merged, user)]
            assert len(top_merged) == len(set(top_merged)) >= len(top_plain)
            better += len(top_merged) > len(top_plain)
    assert better > 0


def test_unmerged_beams_report_their_repeats() -> None:
    model = TableModel(seed=1, spread=0.3)
    p = decoding(beam=60)
    decoded = decode(Search(model, model.memory, p, EVERY_SID, NOTHING))
    calls = len(model.states_seen)
    distinct = total = asked = 0
    for step in range(DIGITS):
        most = 0
        for user in range(USERS):
            before = cpd(model.search(user, p), [None] * step)
            states = {state for state, _ in before}
            distinct, total = distinct + len(states), total + len(before)
            most = max(most, len(states))
        # Equal states are given to the denoiser once.
        assert model.states_seen[step].shape == (USERS, most)
        asked += most
    assert decoded.distinct_states == pytest.approx(distinct / total)
    assert decoded.distinct_states < 1.0
    assert decoded.denoiser_calls == DIGITS == calls
    assert asked * USERS < total


@pytest.mark.parametrize(("merge", "last_step"), WAYS)
@pytest.mark.parametrize("beam", [1, 4, 9, 200])
@pytest.mark.parametrize("size", [1, 6, 30])
def test_constrained_search_equals_the_plain_one(merge, last_step, beam, size) -> None:
    model = TableModel(seed=beam + size)
    rng = np.random.default_rng(size)
    sids = np.unique(rng.integers(0, CODES, (size, DIGITS)), axis=0)
    p = decoding(beam=beam, merge=merge, last_step=last_step, constraint="items")
    catalogue = catalogue_of(sids, CODES)
    decoded = decode(Search(model, model.memory, p, catalogue, NOTHING))
    items = [tuple(sid) for sid in sids.tolist()]
    for user in range(USERS):
        search = model.search(user, p, items)
        expected = cpd(search, greedy=last_step == "greedy")
        expected.sort(key=lambda path: -path[1])
        assert_same(listed(decoded, user), expected)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("beam", [1, 5, 100])
def test_one_pass_scores_every_sid_exactly(monkeypatch, chunk, beam) -> None:
    monkeypatch.setattr(scan, "ROWS_PER_CHUNK", chunk)
    model = TableModel(seed=5)
    rng = np.random.default_rng(0)
    sids = np.unique(rng.integers(0, CODES, (30, DIGITS)), axis=0)
    catalogue = catalogue_of(sids, CODES)
    decoded = one_pass.decode(
        Search(model, model.memory, decoding(beam=beam), catalogue, NOTHING)
    )
    assert decoded.denoiser_calls == len(model.states_seen) == 1
    start = (None,) * DIGITS
    for user in range(USERS):
        expected = sorted(
            (
                -sum(model.log_p(user, start, d, c) for d, c in enumerate(sid)),
                tuple(sid),
            )
            for sid in sids.tolist()
        )[:beam]
        assert_same(listed(decoded, user), [(sid, -score) for score, sid in expected])
