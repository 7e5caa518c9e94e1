"""Lists of trained networks by the methods' names, against dense enumeration."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from sidiff import reference
from sidiff.decoding.catalogue import Catalogue
from sidiff.diffusion.histories import SampleBatch
from sidiff.diffusion.joint import ItemTable, JointDenoiser, JointMemory
from sidiff.errors import SidiffError
from sidiff.ranking.markov import Chain, Transitions
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.searched import SearchRanker
from sidiff.ranking.settings import TransitionParameters
from tests.decoding.catalogues import catalogue_of
from tests.decoding.joint import (
    CODES,
    DIGITS,
    ITEMS,
    energy,
    histories,
    network,
    shop,
)
from tests.ranking.test_items import drawn, literal_chain, literal_lists, markov, placed
from tests.settings import decoding

from ..networks import digit_network

CPU = torch.device("cpu")
SEEDS = [0, 1, 2]


def memory_of(
    model: JointDenoiser, table: ItemTable, batch: SampleBatch
) -> JointMemory:
    x = model.item_vectors(table)[batch.history_items]
    states, packing = model.hidden_states(x, batch.lengths)
    return model.memory(states, packing, batch.history_items, batch.lengths)


def had(batch: SampleBatch, user: int) -> set[int]:
    return set(batch.history_items[user, : batch.lengths[user]].tolist())


def softmax_of(
    model: JointDenoiser, table: ItemTable, batch: SampleBatch
) -> np.ndarray:
    """Probability of every item for each user, ``(B, N)``."""
    energies = [
        [energy(model, table, state, had(batch, user), item) for item in range(ITEMS)]
        for user, state in enumerate(memory_of(model, table, batch).users)
    ]
    return torch.tensor(energies, dtype=torch.float64).softmax(1).numpy()


def filtered(table: ItemTable, seed: int) -> tuple[Catalogue, Tensor]:
    """Some items denied to all, some excluded for each user."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, ITEMS)
    catalogue = catalogue_of(table.codes.numpy(), CODES, counts)
    allowed = rng.random(ITEMS) < 0.8
    allowed[4:6] = True
    excluded = torch.from_numpy(rng.integers(-1, ITEMS, (4, 6)))
    excluded[0, :2] = torch.tensor([4, 5])  # items of one SID
    return catalogue.restrict(torch.from_numpy(allowed)), excluded


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["items", "items_markov"])
def test_lists_of_items_are_those_of_dense_probabilities(
    method: str, seed: int
) -> None:
    model, table = network(seed), shop(seed)
    batch, (catalogue, excluded) = histories(table, seed), filtered(table, seed)
    counts, p, k = drawn(ITEMS, seed), markov(), 7
    added = TransitionParameters(weight=0.5, scale=0.01)
    transitions = Transitions(Chain.of(counts, p, CPU), added)
    with torch.inference_mode():
        ranker = method_ranker(
            search_model(model, table),
            decoding(method=method),
            catalogue,
            transitions,
        )
        lists = ranker.rank(batch, excluded, k)
        softmax = softmax_of(model, table, batch)
    for user, length in enumerate(batch.lengths.tolist()):
        wanted = softmax[user]
        if method == "items_markov":
            past = batch.history_items[user, :length].tolist()
            followed = literal_chain(counts.toarray(), past, p)
            energies = reference.with_transitions(
                np.log(wanted), followed, added.weight, added.scale
            )
            wanted = np.exp(energies) / np.exp(energies).sum()
        items, sids = literal_lists(wanted, catalogue, excluded[user].tolist(), k)
        assert placed(lists.items[user]) == items
        assert placed(lists.sids[user]) == sids
        found = lists.scores[user, : len(items)].double().exp().numpy()
        np.testing.assert_allclose(found, wanted[items], rtol=1e-3, atol=1e-7)


def dense_log_p(
    model: JointDenoiser, table: ItemTable, batch: SampleBatch, user: int
) -> reference.LogP:
    """Single steps of one user, by sums over all items."""
    memory = memory_of(model, table, batch).take(torch.tensor([user]))
    sids = [tuple(codes) for codes in table.codes.tolist()]

    @cache
    def step(state: reference.State) -> Tensor:
        codes = torch.tensor([[[code or 0 for code in state]]])
        masked = torch.tensor([[[code is None for code in state]]])
        view = (state, model.queries(codes, masked, memory)[0, 0])
        past = had(batch, user)
        energies = [
            energy(model, table, memory.users[0], past, item, view)
            for item in range(ITEMS)
        ]
        pi = reference.posterior(energies, sids, state)
        return reference.marginals(pi, sids, CODES)

    return lambda state, digit, code: math.log(step(state)[digit, code])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("constraint", ["items", "none"])
def test_an_endless_search_ranks_by_the_best_order_of_marginals(
    seed: int, constraint: str
) -> None:
    """Without a constraint as well: a posterior over items leads to items alone."""
    model, table, k = network(seed), shop(seed), ITEMS
    batch, (catalogue, excluded) = histories(table, seed), filtered(table, seed)
    p = decoding(method="cpd", beam=500, merge="max", constraint=constraint)
    with torch.inference_mode():
        ranker = method_ranker(search_model(model, table), p, catalogue)
        lists = ranker.rank(batch, excluded, k)
    place = {item: n for n, item in enumerate(catalogue.by_popularity.tolist())}
    sids = [tuple(codes) for codes in table.codes.tolist()]
    for user in range(len(batch.lengths)):
        with torch.no_grad():
            log_p = dense_log_p(model, table, batch, user)
            scores = [reference.best_order(log_p, sid) for sid in sids]
        barred = set(excluded[user].tolist())
        mine = [item for item in catalogue.items.tolist() if item not in barred]
        got = placed(lists.items[user])
        assert sorted(got) == sorted(mine)
        found = lists.scores[user, : len(got)].numpy()
        np.testing.assert_allclose(found, [scores[item] for item in got], atol=1e-3)
        assert (np.diff(found) <= 0).all()
        for first, second in itertools.pairwise(got):
            if sids[first] == sids[second]:
                assert place[first] < place[second]


@pytest.mark.parametrize("beam", [1, 3, 12, 20, 40])
@pytest.mark.parametrize("merge", ["none", "max"])
def test_no_search_of_a_posterior_needs_a_constraint(beam: int, merge: str) -> None:
    """Codes that lead to no item have no probability, nor have what follows them."""
    model, table = network(1), shop(1)
    batch = histories(table, 1)
    catalogue = catalogue_of(table.codes.numpy(), CODES)
    nothing = torch.empty(len(batch.lengths), 0, dtype=torch.int64)
    lists = []
    for constraint in ("items", "none"):
        p = decoding(beam=beam, merge=merge, constraint=constraint, method="cpd")
        with torch.inference_mode():
            ranker = method_ranker(search_model(model, table), p, catalogue)
            lists.append(ranker.rank(batch, nothing, min(beam, ITEMS)))
    bound, free = lists
    found = free.items >= 0
    # The constrained list alone is filled up, where a search finds too few.
    assert int(found.sum(1).min()) >= min(beam, ITEMS) // 3
    assert torch.equal(free.items[found], bound.items[found])
    torch.testing.assert_close(free.scores[found], bound.scores[found])
    assert free.valid_share == 1.0


def test_a_network_of_digits_ranks_no_items() -> None:
    digits = digit_network(DIGITS, CODES, max_history=6, d_model=8)
    table = shop()
    catalogue, _ = filtered(table, 0)
    found = search_model(digits, table)
    for method in ("items", "items_markov"):
        with pytest.raises(SidiffError, match=rf"by {method} needs .*posterior: items"):
            method_ranker(found, decoding(method=method), catalogue)
    ranker = method_ranker(found, decoding(), catalogue)
    assert isinstance(ranker, SearchRanker)
    assert ranker.denoiser is digits
