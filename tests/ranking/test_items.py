"""Lists by a softmax and a Markov chain, against dense, literal versions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor

from sidiff import reference
from sidiff.decoding import scan
from sidiff.decoding.catalogue import Catalogue
from sidiff.diffusion.histories import HistoryBatch
from sidiff.ranking.items import ItemRanker, Popularity, Slice
from sidiff.ranking.markov import Chain, Followers, Transitions
from sidiff.ranking.settings import MarkovParameters, TransitionParameters
from tests.decoding.catalogues import catalogue_of

CPU = torch.device("cpu")


@dataclass
class Products:
    """A model whose logits are products of vectors: rows of users, of items."""

    users: Tensor
    vectors: Tensor

    def logits(self, batch: HistoryBatch) -> Slice:
        return lambda items: self.users @ self.vectors[items].T


def batch_of(history: Tensor, lengths: Tensor) -> HistoryBatch:
    return HistoryBatch(history[..., None], lengths, history)


def anybody(users: int) -> HistoryBatch:
    nothing = torch.zeros(users, 1, dtype=torch.int64)
    return batch_of(nothing, torch.ones(users, dtype=torch.int64))


def markov(**changes: float) -> MarkovParameters:
    base = {"items": 5, "decay": 0.3, "successors": 1000}
    return MarkovParameters.model_validate(base | changes)


def drawn(size: int, seed: int) -> sparse.csr_array:
    """Counts of which a third are there, some items followed by nothing."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, (size, size)) * (rng.random((size, size)) < 0.3)
    counts[rng.random(size) < 0.2] = 0
    return sparse.csr_array(counts.astype(np.float64))


def literal_chain(
    counts: np.ndarray, history: list[int], p: MarkovParameters
) -> np.ndarray:
    """Probability of every item; all zero where nothing ever followed."""
    return np.array(
        reference.transitions(history, counts.tolist(), p.items, p.decay, p.successors)
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    top = logits.max()
    return logits - top - np.log(np.exp(logits - top).sum())


def dense(followers: Followers, size: int) -> np.ndarray:
    table = np.zeros((len(followers.items), size + 1))
    np.put_along_axis(table, followers.items.numpy(), followers.values.numpy(), 1)
    return table[:, :size]


@hypothesis_settings(max_examples=60)
@given(
    size=st.integers(1, 30),
    seed=st.integers(0, 10_000),
    decay=st.sampled_from([0.0, 0.3, 1.0]),
    items=st.sampled_from([1, 2, 50]),
    successors=st.sampled_from([1, 3, 1000]),
)
def test_followers_are_those_of_a_literal_chain(
    size, seed, decay, items, successors
) -> None:
    p = markov(decay=decay, items=items, successors=successors)
    counts = drawn(size, seed)
    rng = np.random.default_rng(seed)
    lengths = torch.from_numpy(rng.integers(0, 8, 6))
    history = torch.from_numpy(rng.integers(0, size, (6, 8)))
    followers = Chain.of(counts, p, CPU).after(history, lengths)
    everything = torch.arange(size).expand(6, -1)
    looked_up = followers.value_of(everything).numpy()
    for user, length in enumerate(lengths.tolist()):
        wanted = literal_chain(counts.toarray(), history[user, :length].tolist(), p)
        np.testing.assert_allclose(dense(followers, size)[user], wanted, atol=1e-6)
        np.testing.assert_allclose(looked_up[user], wanted, atol=1e-6)
    assert not followers.value_of(torch.full((6, 2), -1)).any()
    assert bool((followers.items.diff(dim=1) >= 0).all())


def restricted(catalogue: Catalogue, rng: np.random.Generator) -> Catalogue:
    allowed = rng.random(len(catalogue.sid_of_item)) < 0.8
    allowed[rng.integers(len(allowed))] = True
    return catalogue.restrict(torch.from_numpy(allowed))


def literal_lists(
    p: np.ndarray, catalogue: Catalogue, excluded: list[int], k: int
) -> tuple[list[int], list[int]]:
    """The best k items and k SIDs; equal ones by popularity, then index."""
    place = {item: n for n, item in enumerate(catalogue.by_popularity.tolist())}
    mine = [i for i in range(len(p)) if i not in excluded]
    if catalogue.allowed_items is not None:
        mine = [i for i in mine if catalogue.allowed_items[i]]
    ordered = sorted(mine, key=lambda i: (-p[i], place[i]))
    sids = dict.fromkeys(int(catalogue.sid_of_item[i]) for i in ordered)
    return ordered[:k], list(sids)[:k]


def placed(row: Tensor) -> list[int]:
    """A list without its empty places, which must be at its end."""
    found = [value for value in row.tolist() if value >= 0]
    assert row[len(found) :].tolist() == [-1] * (len(row) - len(found))
    return found


@hypothesis_settings(max_examples=80)
@given(
    size=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    weight=st.sampled_from([0.0, 0.5, 1.0, 40.0]),
    scale=st.sampled_from([1e-6, 0.01, 1.0]),
    rows=st.sampled_from([1, 7, 2**16]),
)
def test_the_best_with_transitions_are_exact(size, seed, weight, scale, rows) -> None:
    """With excluded and denied items and shared SIDs, in one piece or in many."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    users, k = 5, 7
    counts = rng.integers(0, 3, size)
    catalogue = restricted(catalogue_of(rng.integers(0, 2, (size, 3)), 2, counts), rng)
    model = Products(
        torch.randn(users, 4, generator=generator),
        torch.randn(size, 4, generator=generator),
    )
    excluded = torch.from_numpy(rng.integers(-1, size, (users, 6)))
    history = torch.from_numpy(rng.integers(0, size, (users, 4)))
    lengths = torch.tensor([0, 1, 2, 4, 4])
    p, transitions = markov(), drawn(size, seed)
    added = TransitionParameters(weight=weight, scale=scale)
    evidence = Transitions(Chain.of(transitions, p, CPU), added)
    ranker = ItemRanker(model, catalogue, evidence)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "ROWS_PER_CHUNK", rows)
        lists = ranker.rank(batch_of(history, lengths), excluded, k)
    logits = (model.users @ model.vectors.T).double().numpy()
    for user, length in enumerate(lengths.tolist()):
        past = history[user, :length].tolist()
        followed = literal_chain(transitions.toarray(), past, p)
        energies = reference.with_transitions(logits[user], followed, weight, scale)
        grown = np.array(energies) - logits[user]
        log_p = log_softmax(np.array(energies))
        items, sids = literal_lists(log_p, catalogue, excluded[user].tolist(), k)
        assert placed(lists.items[user]) == items
        assert placed(lists.sids[user]) == sids
        found = lists.scores[user, : len(items)].double().numpy()
        np.testing.assert_allclose(found, log_p[items], rtol=1e-4, atol=1e-4)
        part = lists.transitions[user, : len(items)].double().numpy()
        np.testing.assert_allclose(part, 1 - np.exp(-grown[items]), atol=1e-5)
        assert (lists.scores[user, len(items) :] == -torch.inf).all()


@pytest.mark.parametrize("chunk", [7, 2**16])
@pytest.mark.parametrize("with_chain", [False, True])
def test_equally_good_items_go_by_popularity_whoever_else_is_asked_for(
    with_chain, chunk, monkeypatch
) -> None:
    """New items of one SID have the same vector; some users need a longer look."""
    monkeypatch.setattr(scan, "ROWS_PER_CHUNK", chunk)
    rng = np.random.default_rng(3)
    users, size, k = 6, 120, 8
    counts = rng.integers(0, 3, size)
    catalogue = catalogue_of(rng.integers(0, 3, (size, 2)), 3, counts)
    # Small whole numbers: products are exact, so equal ones are equal to the last bit.
    vectors = torch.from_numpy(rng.integers(-2, 3, (size, 6))).float()
    vectors = vectors[catalogue.sid_of_item]
    asked = torch.from_numpy(rng.integers(-2, 3, (users, 6))).float()
    excluded = torch.from_numpy(rng.integers(-1, size, (users, 5)))
    # Nothing ever followed: the chain must leave the order alone.
    chain = Chain.of(sparse.csr_array((size, size)), markov(), CPU)
    transitions = None
    if with_chain:
        transitions = Transitions(chain, TransitionParameters(weight=1.0, scale=0.01))
    ranker = ItemRanker(Products(asked, vectors), catalogue, transitions)
    lists = ranker.rank(anybody(users), excluded, k)
    for user in range(users):
        logits = (vectors @ asked[user]).numpy()
        items, sids = literal_lists(logits, catalogue, excluded[user].tolist(), k)
        assert lists.items[user].tolist() == items
        assert placed(lists.sids[user]) == sids
        alone = ItemRanker(
            Products(asked[user : user + 1], vectors), catalogue, transitions
        ).rank(anybody(1), excluded[user : user + 1], k)
        assert torch.equal(alone.items[0], lists.items[user])
        assert torch.equal(alone.sids[0], lists.sids[user])


@pytest.mark.parametrize("weight", [0.0, 40.0])
def test_a_chain_over_popularity_fills_up_with_the_most_popular(weight) -> None:
    rng = np.random.default_rng(5)
    users, size, k = 8, 30, 30
    counts = rng.integers(0, 5, size)
    catalogue = catalogue_of(np.arange(size)[:, None], size, counts)
    transitions, p = drawn(size, 1), markov(items=1)
    chain = Chain.of(transitions, p, CPU)
    history = torch.from_numpy(rng.integers(0, size, (users, 1)))
    batch = batch_of(history, torch.ones(users, dtype=torch.int64))
    nobody = torch.empty(users, 0, dtype=torch.int64)
    popularity = Popularity(torch.from_numpy(counts))
    added = TransitionParameters(weight=weight, scale=1e-6)
    ranker = ItemRanker(popularity, catalogue, Transitions(chain, added))
    lists = ranker.rank(batch, nobody, k)
    by_count = sorted(range(size), key=lambda i: (-counts[i], i))
    for user, item in enumerate(history[:, 0].tolist()):
        followed = literal_chain(transitions.toarray(), [item], p) * (weight > 0)
        first = [i for i in lists.items[user].tolist() if followed[i] > 0]
        assert lists.items[user, : len(first)].tolist() == first
        assert (np.diff(followed[first]) <= 1e-9).all()
        rest = [i for i in by_count if not followed[i]]
        assert lists.items[user, len(first) :].tolist() == rest
