"""Lists from scores and from SIDs, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sidiff.baselines.ranking import SidItems, best, rank_users
from sidiff.reviews.sequences import evaluation_samples, training_counts

CPU = torch.device("cpu")


@pytest.mark.parametrize("k", [1, 4, 9, 12])
def test_best_breaks_ties_by_column(k) -> None:
    scores = torch.randint(0, 4, (200, 9), generator=torch.Generator().manual_seed(k))
    scores = scores.float().masked_fill(scores == 0, -torch.inf)
    for row, got in zip(scores.tolist(), best(scores, k).tolist(), strict=True):
        ordered = sorted((-value, column) for column, value in enumerate(row))
        wanted = [column for value, column in ordered if value < np.inf][:k]
        assert got == wanted + [-1] * (k - len(wanted))


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_lists_from_scores(noise, noise_table, exclude_seen) -> None:
    groups = noise_table.groups()
    lists = SidItems(groups, training_counts(noise), CPU)
    scores = torch.rand(30, 20, generator=torch.Generator().manual_seed(0))
    seen = torch.rand(30, 20, generator=torch.Generator().manual_seed(1)) < 0.7
    got = lists.lists_from_scores(scores, 8, seen if exclude_seen else None)
    for user in range(30):
        free = [i for i in range(20) if not (exclude_seen and seen[user, i])]
        items = sorted(free, key=lambda i: -float(scores[user, i]))
        sids = list(dict.fromkeys(groups.sid_of_item[items].tolist()))
        for wanted, row in ((items, got.items[user]), (sids, got.sids[user])):
            padded = (wanted + [-1] * 8)[:8]
            assert row.tolist() == padded


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_lists_from_sids(noise, noise_table, exclude_seen) -> None:
    groups, counts = noise_table.groups(), training_counts(noise)
    lists = SidItems(groups, counts, CPU)
    rng = np.random.default_rng(2)
    n_sids = len(groups.sizes)
    sids = np.stack([rng.permutation(n_sids)[:6] for _ in range(30)])
    sids[:5, 4:] = -1
    seen = rng.random((30, 20)) < 0.5
    scores = -torch.arange(6, dtype=torch.float32).expand(30, -1)
    masked = torch.from_numpy(seen) if exclude_seen else None
    got = lists.lists_from_sids(torch.from_numpy(sids), scores, 5, masked)
    for user in range(30):
        items, used, values = [], [], []
        for place, sid in enumerate(sids[user][sids[user] >= 0]):
            members = [
                i
                for i in range(20)
                if groups.sid_of_item[i] == sid and not (exclude_seen and seen[user, i])
            ]
            items += sorted(members, key=lambda i: (-counts[i], i))
            used += [int(sid)] if members else []
            values += [-float(place)] * len(members)
        assert got.items[user].tolist() == (items + [-1] * 5)[:5]
        assert got.sids[user].tolist() == (used + [-1] * 5)[:5]
        assert got.scores[user].tolist() == (values + [-float("inf")] * 5)[:5]


def test_users_come_back_in_their_order_with_their_seen_items(noise, noise_table):
    samples = evaluation_samples(noise, "test", 6)
    assert (samples[:, 1] > 0).any()  # some had more than their history holds
    lists = SidItems(noise_table.groups(), training_counts(noise), CPU)

    def rank_batch(batch, seen):
        assert seen is not None
        return lists.lists_from_scores(seen.float(), 20, ~seen)

    results = rank_users(
        noise,
        samples,
        rank_batch,
        k=20,
        exclude_seen=True,
        users_per_batch=7,
        device=CPU,
        label="test",
    )
    for row, (user, start, end) in enumerate(samples.tolist()):
        items = noise.items[noise.offsets[user] :][: noise.lengths[user]]
        listed = results.items[row]
        assert sorted(set(items[:end].tolist())) == listed[listed >= 0].tolist()
        assert results.targets[row] == items[end]
        assert results.history[row] == end - start
        assert results.users[row] == user
