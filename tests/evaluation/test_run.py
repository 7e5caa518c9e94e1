"""The evaluation stage: lists of items, controls, and the metrics' own consistency."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.evaluation.ranker import Ranking
from sidiff.evaluation.run import Evaluation, evaluate, recommendations
from sidiff.parameters import EvaluationParameters
from sidiff.reviews.sequences import Sequences, training_counts
from sidiff.sids.table import SidTable

USERS, ITEMS, DIGITS, CODES = 40, 30, 3, 3


@pytest.fixture(scope="module")
def shop() -> tuple[Sequences, SidTable]:
    rng = np.random.default_rng(4)
    lengths = rng.integers(3, 9, USERS)
    sequences = Sequences(
        items=rng.integers(0, ITEMS, lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=pl.Series([f"u{i:02}" for i in range(USERS)]),
        item_ids=pl.Series([f"i{i:02}" for i in range(ITEMS)]),
    )
    codes = rng.integers(0, CODES, (ITEMS, DIGITS)).astype(np.uint16)
    return sequences, SidTable(codes, sequences.item_ids, CODES)


@pytest.fixture(scope="module")
def evaluation(shop) -> Evaluation:
    config = DenoiserConfig(DIGITS, CODES, 10, 16, 2, 16, 1, 1, 0.0, "sink")
    denoiser = Denoiser(config).initialize(torch.Generator().manual_seed(0)).eval()
    parameters = EvaluationParameters.model_validate(
        dict(
            decoding=dict(
                method="cpd",
                order="confidence",
                beam=27,
                merge="max",
                constraint="none",
                last_step="joint",
                seed=0,
            ),
            controls=["random", "fixed", "one_pass"],
            control_users=15,
            cutoffs=[5, 10],
            top_k=10,
            users_per_batch=7,
            device="cpu",
            threads=1,
        )
    )
    return evaluate(denoiser, *shop, parameters)


def test_every_user_gets_ten_distinct_existing_items(shop, evaluation) -> None:
    frame = evaluation.recommendations
    for _, rows in frame.group_by("user_id"):
        assert rows["rank"].to_list() == list(range(1, 11))
        assert rows["item_id"].n_unique() == 10
        assert rows["score"].is_sorted(descending=True)
    assert frame["user_id"].unique().sort().to_list() == shop[0].user_ids.to_list()
    sids = shop[1].to_frame().select("item_id", "sid")
    joined = frame.join(sids, on="item_id")
    assert (joined["semantic_id"] == joined["sid"]).all()


def test_metrics_follow_from_the_recommendations(shop, evaluation) -> None:
    """SID-level recall recomputed from the written lists (a beam of all SIDs)."""
    sequences, table = shop
    names = dict(table.to_frame().select("item_id", "sid").iter_rows())
    hits = []
    for user, (first, last) in enumerate(
        zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ):
        target = names[sequences.item_ids[int(sequences.items[last - 1])]]
        rows = evaluation.recommendations.filter(user_id=sequences.user_ids[user])
        ranked = list(dict.fromkeys(rows.sort("rank")["semantic_id"].to_list()))
        hits.append(target in ranked[:5])
        assert last - first >= 3
    assert evaluation.metrics["test/sid/recall_at_5"] >= np.mean(hits) - 1e-9
    assert evaluation.metrics["n_users"] == USERS


def test_controls_compare_on_the_same_users(evaluation) -> None:
    names = {k.split("/")[2] for k in evaluation.metrics if "/controls/" in k}
    assert names == {"n_users", "as_configured", "random", "fixed", "one_pass"}
    assert evaluation.metrics["test/controls/n_users"] == 15


def test_popularity_baseline_by_hand(shop, evaluation) -> None:
    sequences, _ = shop
    counts = training_counts(sequences)
    top = sorted(range(ITEMS), key=lambda i: (-counts[i], i))[:10]
    ranks = [
        top.index(t) if (t := int(sequences.items[end - 1])) in top else None
        for end in sequences.offsets[1:]
    ]
    ndcg = np.mean([0 if r is None else 1 / math.log2(r + 2) for r in ranks])
    assert evaluation.metrics["test/popularity/ndcg_at_10"] == pytest.approx(ndcg)


def test_lists_equal_a_plain_expansion(shop) -> None:
    sequences, table = shop
    groups = table.groups()
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, ITEMS)
    width = 5
    sids = np.stack([rng.permutation(len(groups.sizes))[:width] for _ in range(USERS)])
    sids[0, 2:], sids[1] = -1, -1
    ranking = Ranking(
        sids,
        -np.arange(width, dtype=np.float32) * np.ones((USERS, 1), dtype=np.float32),
        np.zeros(USERS, dtype=np.int64),
        np.zeros(USERS, dtype=np.int64),
        3,
        1.0,
        1.0,
        1.0,
    )
    users = np.arange(USERS, dtype=np.int32)
    frame = recommendations(sequences, table, groups, users, ranking, counts)
    expected = []
    for user in range(USERS):
        items = []
        for column, sid in enumerate(sids[user]):
            if sid >= 0:
                members = np.flatnonzero(groups.sid_of_item == sid)
                members = sorted(members, key=lambda i: (-counts[i], i))
                items += [(int(i), -float(column)) for i in members]
        expected += [
            (f"u{user:02}", place, f"i{item:02}", score)
            for place, (item, score) in enumerate(items[:width], start=1)
        ]
    assert frame.select("user_id", "rank", "item_id", "score").rows() == expected
