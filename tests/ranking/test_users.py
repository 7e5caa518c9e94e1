"""Many users: batches, what each must not get, results in the users' order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidiff.decoding.scan import best_columns
from sidiff.diffusion.joint import ItemTable
from sidiff.ranking.ranker import Lists
from sidiff.ranking.users import ITEMS_PER_USER, Users, rank_users
from sidiff.reviews.sequences import evaluation_samples
from tests.baselines.conftest import sequences_of


@given(seed=st.integers(0, 1000), whole=st.booleans(), per_batch=st.integers(1, 9))
def test_batches_hold_every_user_once_and_bound_what_is_held(
    seed, whole, per_batch
) -> None:
    rng = np.random.default_rng(seed)
    ends = (rng.pareto(1.0, 50) * 20).astype(np.int32) + 1
    samples = np.stack([np.arange(50), np.maximum(ends - 10, 0), ends], axis=1)
    codes = torch.arange(20)
    users = Users(
        sequences_of([[0]], 20),
        ItemTable(codes[:, None], codes),
        samples,
        1,
        whole,
        per_batch,
    )
    found = users.batches()
    assert sorted(np.concatenate(found).tolist()) == list(range(50))
    counted = samples[:, 2] - (0 if whole else samples[:, 1])
    assert (np.diff(counted[np.concatenate(found)]) >= 0).all()
    room = per_batch * ITEMS_PER_USER
    for rows in found:
        assert len(rows) <= per_batch
        assert not whole or len(rows) == 1 or len(rows) * ends[rows].max() <= room
    # No smaller than need be, and the same when only some of them are given.
    for first, second in pairwise(found):
        longest = max(ITEMS_PER_USER, int(counted[second[0]]))
        full = (len(first) + 1) * longest > room if whole else False
        assert len(first) == per_batch or full
    some = np.concatenate(found[1:3])
    again = [some[rows] for rows in users.take(some).batches()]
    assert [rows.tolist() for rows in again] == [rows.tolist() for rows in found[1:3]]


class Excluded:
    """Recommends exactly what a user must not get, smallest item first."""

    def rank(self, batch, excluded, k):
        filled = torch.where(excluded < 0, 10**6, excluded).sort(dim=1).values
        lists = torch.full((len(excluded), k), -1)
        for user, row in enumerate(filled):
            items = row[row < 10**6].unique()
            lists[user, : len(items)] = items
        length = batch.lengths.float()
        return Lists(lists, lists.float(), lists, float(length.mean()))


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_users_come_back_in_their_order_with_their_seen_items(exclude_seen) -> None:
    rng = np.random.default_rng(0)
    noise = sequences_of(
        [rng.integers(0, 20, n).tolist() for n in rng.integers(3, 12, 60)], 20
    )
    samples = evaluation_samples(noise, "test", 6)
    assert (samples[:, 1] > 0).any()  # some had more than their history holds
    codes = torch.arange(noise.n_items)
    users = Users(noise, ItemTable(codes[:, None], codes), samples, 20, exclude_seen, 7)
    results = rank_users(Excluded(), users, None)
    for row, (user, start, end) in enumerate(samples.tolist()):
        items = noise.items[noise.offsets[user] :][: noise.lengths[user]]
        listed = results.items[row]
        seen = sorted(set(items[:end].tolist())) if exclude_seen else []
        assert seen == listed[listed >= 0].tolist()
        assert results.targets[row] == items[end]
        assert results.history[row] == end - start
        assert results.users[row] == user
    lengths = samples[:, 2] - samples[:, 1]
    assert results.cost.denoiser_calls == pytest.approx(lengths.mean(), rel=1e-6)
    some = np.array([40, 3, 17])
    part = rank_users(Excluded(), users.take(some), None)
    assert (part.items == results.items[some]).all()


@pytest.mark.parametrize("k", [1, 4, 9, 12])
def test_the_best_columns_break_ties_by_column(k) -> None:
    scores = torch.randint(0, 4, (200, 9), generator=torch.Generator().manual_seed(k))
    scores = scores.float().masked_fill(scores == 0, -torch.inf)
    values, columns = best_columns(scores, k)
    for row, found, got in zip(
        scores.tolist(), values.tolist(), columns.tolist(), strict=True
    ):
        ordered = sorted((-value, column) for column, value in enumerate(row))
        wanted = [column for value, column in ordered if value < np.inf][:k]
        live = [c for c, v in zip(got, found, strict=True) if v > -np.inf]
        assert live == wanted
