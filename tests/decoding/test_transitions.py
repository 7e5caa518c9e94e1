"""What followed the last items, and its mixture with the softmax, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import sparse
from torch import Tensor

from sidiff.decoding import item_probabilities, scan
from sidiff.decoding.item_probabilities import ItemProbabilities
from sidiff.decoding.ranking import rank_items
from sidiff.decoding.transitions import Followers, Transitions
from sidiff.diffusion.denoiser import Memory
from sidiff.parameters import TransitionParameters
from tests.decoding.catalogues import catalogue_of
from tests.decoding.test_ranking import HashModel
from tests.settings import decoding


def parameters(**changes: float) -> TransitionParameters:
    base = {"share": 0.4, "items": 5, "decay": 0.3, "successors": 1000}
    return TransitionParameters.model_validate(base | changes)


def drawn(size: int, seed: int) -> sparse.csr_array:
    """Counts of which a third are there, some items followed by nothing."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, (size, size)) * (rng.random((size, size)) < 0.3)
    counts[rng.random(size) < 0.2] = 0
    return sparse.csr_array(counts.astype(np.float64))


def chain(
    counts: sparse.csr_array, history: list[int], p: TransitionParameters
) -> np.ndarray:
    """Probability of every item, literally."""
    table = counts.toarray()
    shares = np.zeros_like(table)
    for item, row in enumerate(table):
        best = sorted(np.flatnonzero(row).tolist(), key=lambda i: (-row[i], i))
        for successor in best[: p.successors]:
            shares[item, successor] = row[successor] / row.sum()
    total = np.zeros(len(table))
    for age, item in enumerate(reversed(history)):
        if age < p.items:
            total += p.decay**age * shares[item]
    return total / total.sum() if total.any() else total


def dense(followers: Followers, size: int) -> np.ndarray:
    table = np.zeros((len(followers.items), size + 1))
    np.put_along_axis(table, followers.items.numpy(), followers.shares.numpy(), 1)
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
    p = parameters(decay=decay, items=items, successors=successors)
    counts = drawn(size, seed)
    rng = np.random.default_rng(seed)
    lengths = torch.from_numpy(rng.integers(0, 8, 6))
    history = torch.from_numpy(rng.integers(0, size, (6, 8)))
    transitions = Transitions.of(counts, p.successors, torch.device("cpu"))
    followers = transitions.after(history, lengths, p)
    everything = torch.arange(size).expand(6, -1)
    looked_up = followers.share_of(everything).numpy()
    for user, length in enumerate(lengths.tolist()):
        wanted = chain(counts, history[user, :length].tolist(), p)
        np.testing.assert_allclose(dense(followers, size)[user], wanted, atol=1e-6)
        np.testing.assert_allclose(looked_up[user], wanted, atol=1e-6)
    assert not followers.share_of(torch.full((6, 2), -1)).any()
    assert bool((followers.items.diff(dim=1) >= 0).all())


def mixture(
    probabilities: ItemProbabilities, share: float, size: int
) -> tuple[Tensor, Tensor]:
    softmax = (probabilities.users @ probabilities.vectors.T).double().softmax(1)
    assert probabilities.followers is not None
    followed = torch.from_numpy(dense(probabilities.followers, size))
    return softmax, (1 - share) * softmax + share * followed


@hypothesis_settings(max_examples=60)
@given(
    size=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.05, 0.4, 0.95]),
    numbers=st.sampled_from([1, 60, 2**24]),
    rows=st.sampled_from([1, 7, 2**16]),
)
def test_the_best_of_the_mixture_are_exact(size, seed, share, numbers, rows) -> None:
    """With seen and denied items, in one piece or in many."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    users, k = 5, 7
    catalogue = catalogue_of(rng.integers(0, 4, (size, 3)), 4)
    allowed = rng.random(size) < 0.8
    allowed[rng.integers(size)] = True
    catalogue = catalogue.restrict(torch.from_numpy(allowed))
    catalogue.item_vectors = torch.randn(size, 4, generator=generator)
    asked = torch.randn(users, 4, generator=generator)
    memory = Memory(torch.arange(users), (), (), torch.zeros(users, 1, 1, 1), asked)
    seen = torch.from_numpy(rng.integers(-1, size, (users, 6)))
    history = torch.from_numpy(rng.integers(0, size, (users, 4)))
    p = parameters(share=share)
    transitions = Transitions.of(drawn(size, seed), 1000, torch.device("cpu"))
    followers = transitions.after(history, torch.tensor([0, 1, 2, 4, 4]), p)
    model = HashModel(3, 4, users, 0)
    decoder = decoding(
        method="item_vectors",
        constraint="items",
        transitions=p.model_dump(),
        rescoring={"items": 0, "orders": 0, "item_weight": 0.0},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_probabilities, "NUMBERS_AT_ONCE", numbers)
        patch.setattr(item_probabilities, "ROWS_PER_CHUNK", rows)
        patch.setattr(scan, "ROWS_PER_CHUNK", rows)
        ranked = rank_items(model, memory, decoder, catalogue, seen, k, followers)
        probabilities = ItemProbabilities.of(memory, catalogue, followers, share)
        assert probabilities is not None
        everything = torch.arange(size).expand(users, -1)
        log_p = probabilities.log_p(everything)
    softmax, wanted = mixture(probabilities, share, size)
    torch.testing.assert_close(log_p.double().exp(), wanted, atol=1e-6, rtol=1e-4)
    for user in range(users):
        mine = sorted(set(np.flatnonzero(allowed).tolist()) - set(seen[user].tolist()))
        best = sorted(mine, key=lambda i: -float(wanted[user, i]))[:k]
        got = [i for i in ranked.items[user].tolist() if i >= 0]
        assert got == best
        torch.testing.assert_close(
            ranked.scores[user, : len(got)].double(),
            wanted[user, best].log(),
            atol=1e-4,
            rtol=1e-4,
        )
        assert ranked.items[user, len(got) :].tolist() == [-1] * (k - len(got))
    alone = ItemProbabilities.of(memory, catalogue, followers, 0.0)
    assert alone is not None
    torch.testing.assert_close(
        alone.log_p(everything).double().exp(), softmax, atol=1e-6, rtol=1e-4
    )


def test_rescoring_knows_the_mixture() -> None:
    """The items of a search in the order of what the chain and the softmax say."""
    size, users, k = 20, 3, 5
    rng = np.random.default_rng(2)
    catalogue = catalogue_of(np.arange(size)[:, None], size)
    catalogue.item_vectors = torch.from_numpy(rng.normal(size=(size, 4))).float()
    asked = torch.from_numpy(rng.normal(size=(users, 4))).float()
    memory = Memory(torch.arange(users), (), (), torch.zeros(users, 1, 1, 1), asked)
    p = parameters(share=0.9)
    transitions = Transitions.of(drawn(size, 5), 1000, torch.device("cpu"))
    history = torch.from_numpy(rng.integers(0, size, (users, 3)))
    followers = transitions.after(history, torch.full((users,), 3), p)
    model = HashModel(1, size, users, 0)
    decoder = decoding(
        method="item_vectors",
        constraint="items",
        transitions=p.model_dump(),
        rescoring={"items": size, "orders": 0, "item_weight": 1.0},
    )
    nothing = torch.empty(users, 0, dtype=torch.int64)
    ranked = rank_items(model, memory, decoder, catalogue, nothing, k, followers)
    probabilities = ItemProbabilities.of(memory, catalogue, followers, 0.9)
    assert probabilities is not None
    _, wanted = mixture(probabilities, 0.9, size)
    assert torch.equal(ranked.items, wanted.topk(k, dim=1).indices)
    without = rank_items(model, memory, decoder, catalogue, nothing, k)
    assert not torch.equal(ranked.items, without.items)
