"""Two-stage decoding against plain Python and against CPD."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from sidiff import reference
from sidiff.decoding import cpd, one_pass, two_stage
from sidiff.decoding.search import Search
from sidiff.decoding.settings import DecodingParameters
from sidiff.decoding.two_stage import most_confident
from tests.decoding.catalogues import catalogue_of
from tests.decoding.tables import USERS, TableModel, assert_same, listed
from tests.settings import decoding

from ..networks import digit_network

DIGITS, CODES = 4, 3
EVERY_SID = list(itertools.product(range(CODES), repeat=DIGITS))
EVERYTHING = catalogue_of(np.array(EVERY_SID), CODES)
NOTHING = torch.empty(USERS, 0, dtype=torch.int64)


def stages(warmup: int, together: int, **changes: Any) -> DecodingParameters:
    parallel = {"warmup_steps": warmup, "digits_per_step": together}
    return decoding(method="two_stage", parallel=parallel, **changes)


def model_of(seed: int, spread: float = 2.0) -> TableModel:
    return TableModel(seed, spread, DIGITS, CODES)


SCHEDULES = [(warmup, together) for warmup in range(4) for together in (1, 2, 3)]


@pytest.mark.parametrize("merge", ["none", "max"])
@pytest.mark.parametrize("beam", [1, 3, 8, 20, 500])
@pytest.mark.parametrize(("warmup", "together"), SCHEDULES)
def test_two_stages_equal_the_plain_search(merge, beam, warmup, together) -> None:
    """Every schedule of a network of 3 digits of 4 codes."""
    model = TableModel(seed=beam + warmup, spread=0.7)
    p = stages(warmup, together, beam=beam, merge=merge)
    decoded = two_stage.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    for user in range(USERS):
        assert_same(
            listed(decoded, user),
            reference.two_stage(model.search(user, p), warmup, together),
        )
    steps = warmup + math.ceil((3 - warmup) / together)
    assert decoded.denoiser_calls == len(model.states_seen) == steps


@pytest.mark.parametrize("merge", ["none", "max"])
@pytest.mark.parametrize("size", [1, 6, 30])
@pytest.mark.parametrize(("warmup", "together"), SCHEDULES)
def test_constrained_stages_equal_the_plain_search(
    merge, size, warmup, together
) -> None:
    """With a beam that holds every beginning of a SID nothing can be lost."""
    model = TableModel(seed=size + warmup)
    rng = np.random.default_rng(size)
    sids = np.unique(rng.integers(0, 4, (size, 3)), axis=0)
    p = stages(warmup, together, beam=200, merge=merge, constraint="items")
    items = [tuple(sid) for sid in sids.tolist()]
    decoded = two_stage.decode(
        Search(model, model.memory, p, catalogue_of(sids, 4), NOTHING)
    )
    for user in range(USERS):
        expected = reference.two_stage(model.search(user, p, items), warmup, together)
        assert_same(listed(decoded, user), expected)


def test_the_serial_decoder_is_not_cpd() -> None:
    """A path expands its surest digit only; CPD pools all of them."""
    model = model_of(seed=3)
    p = stages(DIGITS, 1, beam=20)
    serial = two_stage.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    pooled = cpd.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    assert serial.denoiser_calls == DIGITS
    assert any(listed(serial, user) != listed(pooled, user) for user in range(USERS))


def chunks(order: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("constraint", ["none", "items"])
def test_random_digits_are_open_and_each_paths_own(together, constraint) -> None:
    """Every SID is found by some order, scored by it, and orders differ by path."""
    model = model_of(seed=5, spread=0.5)
    p = stages(1, together, beam=81, order="random", constraint=constraint)
    decoded = two_stage.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    again = two_stage.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    assert torch.equal(decoded.codes, again.codes)
    # One path begins; what is filled next differs among the paths of one user.
    assert (model.masks_seen[1].sum(2) == DIGITS - 1).all()
    assert len(model.masks_seen[2][0].unique(dim=0)) > 1
    for user in range(USERS):
        own = partial(model.log_p, user)
        for sid, score in listed(decoded, user):
            assert any(
                score == pytest.approx(reference.path_score(own, sid, steps), abs=1e-4)
                for order in itertools.permutations(range(DIGITS))
                for steps in [[order[:1], *chunks(order[1:], together)]]
            )
    alone = two_stage.decode(
        Search(model, model.memory.take(torch.tensor([2])), p, EVERYTHING, NOTHING[:1])
    )
    assert listed(alone, 0) == listed(decoded, 2)


@pytest.mark.parametrize(("warmup", "together"), [(0, 1), (4, 1), (1, 2), (2, 2)])
def test_every_step_reads_the_row_of_the_digits_still_masked(warmup, together) -> None:
    """A real network: another row k changes the steps with k masked and no other."""
    shape = dict(max_history=5, d_ff=24, decoder_layers=2)
    parts = dict(history_tokens="codes", mask="shared", difficulty_embedding=True)
    model = digit_network(4, 3, seed=1, cross_pad="mask", **shape, **parts)
    history = torch.randint(
        3, (USERS, 5, 4), generator=torch.Generator().manual_seed(2)
    )
    memory = model.encode(history, torch.tensor([1, 2, 5, 3]))
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = model.logits

    def watched(codes, masked, memory):
        asked.append((codes, masked))
        return original(codes, masked, memory)

    model.logits = watched
    p = stages(warmup, together, beam=6)
    two_stage.decode(Search(model, memory, p, EVERYTHING, NOTHING))
    numbers = [int(masked.sum(2).unique()) for _, masked in asked]
    left, expected = DIGITS, []
    while left:
        expected.append(left)
        left -= 1 if DIGITS - left < warmup else min(together, left)
    assert numbers == expected
    with torch.inference_mode():
        before = [original(*state, memory)[state[1]] for state in asked]
        for row in range(DIGITS):
            kept = model.difficulties[row].clone()
            model.difficulties[row] += 1.0
            for number, state, old in zip(numbers, asked, before, strict=True):
                same = torch.equal(original(*state, memory)[state[1]], old)
                assert same == (number != row + 1)
            model.difficulties[row] = kept


def test_one_shot_is_the_exact_best_of_independent_digits() -> None:
    """Unconstrained over all SIDs it must equal scoring all of them in one pass."""
    model = model_of(seed=8)
    p = stages(0, DIGITS, beam=25)
    shot = two_stage.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    scored = one_pass.decode(Search(model, model.memory, p, EVERYTHING, NOTHING))
    for user in range(USERS):
        assert_same(listed(shot, user), listed(scored, user))
    assert shot.denoiser_calls == 1


@pytest.mark.parametrize("digits", [8, 16, 24])
@pytest.mark.parametrize("constraint", ["none", "items"])
def test_long_ids_take_the_stated_number_of_calls(digits, constraint) -> None:
    """Sixteen digits and more have no lattice; every SID found exists."""

    class Flat(TableModel):
        def __init__(self) -> None:
            super().__init__(0, digits=1)
            self.config.digits, self.config.codebook_size = digits, CODES
            generator = torch.Generator().manual_seed(1)
            self.scores = torch.randn(USERS, 1, digits, CODES, generator=generator)

        def logits(self, codes, masked, memory):
            self.states_seen.append(codes)
            own = self.scores[memory.users]
            return own.expand(-1, codes.shape[1], -1, -1).clone()

    model = Flat()
    rng = np.random.default_rng(4)
    sids = np.unique(rng.integers(0, CODES, (200, digits)), axis=0)
    p = stages(2, 3, beam=300, merge="max", constraint=constraint)
    catalogue = catalogue_of(sids, CODES)
    decoded = two_stage.decode(Search(model, model.memory, p, catalogue, NOTHING))
    assert decoded.denoiser_calls == 2 + math.ceil((digits - 2) / 3)
    for user in range(USERS):
        found = listed(decoded, user)
        assert len({sid for sid, _ in found}) == len(found)
        if constraint == "items":
            # One distribution for all states: a SID's score is a sum over its digits.
            own = model.scores[user, 0].log_softmax(-1).numpy()
            total = own[np.arange(digits), sids].sum(1)
            scores = dict(zip(map(tuple, sids.tolist()), total.tolist(), strict=True))
            assert len(found) >= 10
            best = sorted((sid for sid, _ in found), key=lambda sid: -scores[sid])
            assert_same(found, [(sid, scores[sid]) for sid in best])


@pytest.mark.parametrize("blocked_share", [0.3, 0.9])
def test_blocked_sids_are_never_reached_together(blocked_share) -> None:
    """Each user has SIDs of their own that may not come up."""
    model = model_of(seed=21)
    rng = np.random.default_rng(2)
    sids = np.unique(rng.integers(0, CODES, (50, DIGITS)), axis=0)
    chosen = rng.random((USERS, len(sids))) < blocked_share
    excluded = torch.where(torch.from_numpy(chosen), torch.arange(len(sids)), -1)
    p = stages(1, 3, beam=100, merge="max", constraint="items")
    catalogue = catalogue_of(sids, CODES)
    decoded = two_stage.decode(Search(model, model.memory, p, catalogue, excluded))
    for user in range(USERS):
        left = {tuple(sid) for sid in sids[~chosen[user]].tolist()}
        assert {sid for sid, _ in listed(decoded, user)} == left


def test_the_surest_digits_are_those_of_the_largest_probability() -> None:
    generator = torch.Generator().manual_seed(0)
    log_p = torch.randn(2, 3, 4, 5, generator=generator).log_softmax(-1)
    log_p[0, 0, 0] = -torch.inf
    actual = most_confident(log_p, 3)
    for place in itertools.product(range(2), range(3)):
        best = log_p[place].amax(1).tolist()
        expected = sorted(range(4), key=lambda digit: -best[digit])[:3]
        assert actual[place].tolist() == expected


@pytest.mark.parametrize("merge", ["none", "max"])
@pytest.mark.parametrize("decode", [two_stage.decode, cpd.decode])
def test_users_who_may_get_nothing_get_nothing(merge, decode) -> None:
    """Every SID that is allowed is excluded for these users."""
    digits, size, allowed = 8, 2, 3
    p = stages(0, 2, beam=1, merge=merge, constraint="items")
    excluded = torch.arange(allowed).expand(USERS, -1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sids = np.unique(rng.integers(0, size, (10, digits)), axis=0)
        catalogue = catalogue_of(sids, size)
        catalogue = catalogue.restrict(torch.arange(len(sids)) < allowed)
        model = TableModel(seed, 4.0, digits, size)
        decoded = decode(Search(model, model.memory, p, catalogue, excluded))
        assert (decoded.scores == -torch.inf).all()
