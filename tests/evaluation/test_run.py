"""The evaluation stage: lists of items, controls, and the metrics' own consistency."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

from sidiff.decoding.catalogue import Catalogue
from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.joint import JointConfig, JointDenoiser
from sidiff.errors import SidiffError
from sidiff.evaluation.run import (
    Evaluation,
    Evaluator,
    compare_decoders,
    evaluate,
)
from sidiff.ranking.lists import items_of
from sidiff.ranking.users import rank_users
from sidiff.reviews.sequences import Sequences, training_counts
from sidiff.sids.table import SidTable
from tests import settings

from ..networks import SHAPE, digit_network

USERS, ITEMS, DIGITS, CODES = 40, 30, 3, 3
RESIDUALS = np.arange(1, ITEMS + 1)


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


SMALL = {
    "method": "cpd",
    "decoding.beam": 27,
    "seeds": [1],
    "decoder_users": 15,
    "users_per_batch": 7,
    "device": "cpu",
    "threads": 1,
}


def evaluator(shop, max_history: int = 10, **changes: object) -> Evaluator:
    p = settings.evaluation(SMALL | changes)
    return Evaluator(*shop, RESIDUALS, None, p, max_history)


def joint() -> JointDenoiser:
    config = JointConfig(
        digits=DIGITS,
        codebook_size=CODES,
        **SHAPE,
        residual_items=ITEMS,
        residual_dropout=0.0,
    )
    model = JointDenoiser(config).initialize(torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        model.correction.weight.normal_()
    return model


@pytest.fixture(scope="module", params=["digits", "items"])
def denoiser(request: pytest.FixtureRequest) -> Denoiser | JointDenoiser:
    """A network of each kind, with weights drawn by chance."""
    if request.param == "items":
        return joint()
    return digit_network(DIGITS, CODES)


@pytest.fixture(scope="module")
def evaluation(shop, denoiser) -> Evaluation:
    return evaluate(evaluator(shop), {1: denoiser}, 1)


def test_every_user_gets_ten_distinct_existing_items(shop, evaluation) -> None:
    frame = evaluation.test_lists
    for _, rows in frame.group_by("user_id"):
        assert rows["rank"].to_list() == list(range(1, 11))
        assert rows["item_id"].n_unique() == 10
        assert rows["score"].is_sorted(descending=True)
    assert frame["user_id"].unique().sort().to_list() == shop[0].user_ids.to_list()
    sids = shop[1].to_frame().select("item_id", "sid")
    joined = frame.join(sids, on="item_id")
    assert (joined["semantic_id"] == joined["sid"]).all()


def test_metrics_follow_from_the_lists(shop, evaluation) -> None:
    """SID-level recall recomputed from the written lists (a beam of all SIDs)."""
    sequences, table = shop
    names = dict(table.to_frame().select("item_id", "sid").iter_rows())
    hits = []
    for user, (first, last) in enumerate(
        zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ):
        target = names[sequences.item_ids[int(sequences.items[last - 1])]]
        rows = evaluation.test_lists.filter(user_id=sequences.user_ids[user])
        ranked = list(dict.fromkeys(rows.sort("rank")["semantic_id"].to_list()))
        hits.append(target in ranked[:5])
        assert last - first >= 3
    assert evaluation.metrics["test/sid/recall_at_5"] >= np.mean(hits) - 1e-9
    assert evaluation.metrics["n_users"] == USERS


def test_every_decoder_ranks_for_the_same_users(shop, denoiser) -> None:
    results, costs = compare_decoders(evaluator(shop), {1: denoiser, 2: denoiser})
    names = set(settings.settings("evaluation")["decoders"])
    if isinstance(denoiser, Denoiser):
        names -= {"items"}
    assert set(results["method"]) == names
    assert set(results["seed"]) == {1, 2}
    users = {tuple(rows["user"]) for _, rows in results.group_by("method", "seed")}
    assert len(users) == 1
    assert len(next(iter(users))) == 15
    assert costs.select("method", "seed").n_unique() == len(costs) == 2 * len(names)
    assert (costs["users_per_second"] > 0).all()
    one = costs.filter(method="one_pass")["denoiser_calls"]
    assert one.to_list() == [1.0, 1.0]


def test_all_seeds_are_ranked_for_all_users_and_the_main_one_is_recommended(
    shop, denoiser, evaluation
) -> None:
    other = joint()
    networks = {2: other, 1: denoiser, 3: other}
    both = evaluate(evaluator(shop, seeds=[1, 2]), networks, 1)
    assert both.test_lists.equals(evaluation.test_lists)
    assert both.metrics == evaluation.metrics
    rows = both.results.group_by("seed").agg(pl.col("user").n_unique())
    assert dict(rows.iter_rows()) == {1: USERS, 2: USERS}
    assert both.results["method"].unique().to_list() == ["as_configured"]
    assert sorted(both.costs["seed"]) == [1, 2]
    mine = both.results.filter(seed=1).sort("user")["items"].explode()
    names = shop[0].item_ids.gather(mine)
    assert names.to_list() == both.test_lists["item_id"].to_list()


def test_what_followed_in_training_leads_the_list_at_a_large_weight(shop) -> None:
    """The chain of the training part alone, asked of the history before the target."""
    sequences, table = shop
    p = settings.evaluation(
        SMALL
        | {
            "method": "items_markov",
            "transitions": {"weight": 1000.0, "scale": 1e-6},
        }
    )
    results = Evaluator(sequences, table, RESIDUALS, None, p, 10).rank(
        joint(), p.ranking, None
    )
    counts = np.zeros((ITEMS, ITEMS))
    bounds = list(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True))
    for first, last in bounds:
        train = sequences.items[first : last - 2]
        np.add.at(counts, (train[:-1], train[1:]), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    led = 0
    for user, (first, last) in enumerate(bounds):
        history = sequences.items[first : last - 1][::-1][: p.markov.items]
        decay = p.markov.decay ** np.arange(len(history))
        chain = decay @ shares[history]
        followers = int((chain > 0).sum())
        got = chain[results.items[user]]
        np.testing.assert_allclose(got, np.sort(chain)[::-1][: len(got)], atol=1e-12)
        led += followers > 0
    assert led > USERS / 2


def test_lists_in_bfloat16_are_mostly_those_in_float32(
    shop, denoiser, evaluation
) -> None:
    lowered = evaluate(evaluator(shop, precision="bfloat16"), {1: denoiser}, 1)
    columns = ["user_id", "item_id"]
    exact = evaluation.test_lists.select(columns)
    same = lowered.test_lists.join(exact, on=columns, how="semi")
    assert len(same) / len(exact) > 0.8
    assert not lowered.test_lists["score"].equals(evaluation.test_lists["score"])
    again = evaluate(evaluator(shop), {1: denoiser}, 1)
    assert again.metrics == evaluation.metrics


@pytest.mark.parametrize("method", ["cpd", "items", "items_markov"])
@pytest.mark.parametrize("max_history", [10, 2])
def test_seen_and_denied_items_are_not_recommended(
    shop, tmp_path, max_history, method
) -> None:
    """Also what was seen before the first item of the history that is read."""
    sequences, _ = shop
    allow, deny = tmp_path / "allow.txt", tmp_path / "deny.txt"
    allow.write_text("\n".join(f"i{i:02}" for i in range(5, 30)) + "\nelsewhere\n")
    # As some editors save it: with a mark before the first id.
    deny.write_text("i07\n\n  i08 \n", encoding="utf-8-sig")
    filtered = evaluator(
        shop,
        max_history=max_history,
        exclude_seen=True,
        allow_items=str(allow),
        deny_items=str(deny),
        **{"decoding.beam": 4, "method": method},
    )
    result = evaluate(filtered, {1: joint()}, 1)
    for (user,), rows in result.test_lists.group_by("user_id"):
        place = sequences.user_ids.to_list().index(user)
        first, last = sequences.offsets[place], sequences.offsets[place + 1]
        history = sequences.items[first : last - 1].tolist()
        got = [int(name[1:]) for name in rows["item_id"]]
        possible = set(range(5, 30)) - {7, 8} - set(history)
        assert set(got) <= possible
        assert len(got) == len(set(got)) == min(10, len(possible))
    assert (result.costs["completed_share"] > 0).item() == (method == "cpd")


@pytest.mark.parametrize(
    ("text", "sentence"), [(None, "cannot be read"), ("nothing\n", "leave no item")]
)
def test_wrong_lists_are_one_clear_error(shop, tmp_path, text, sentence) -> None:
    path = tmp_path / "list.txt"
    if text:
        path.write_text(text)
    with pytest.raises(SidiffError, match=sentence):
        evaluator(shop, allow_items=str(path))


@pytest.mark.parametrize("filtered", [False, True])
def test_popularity_by_hand(shop, tmp_path, filtered) -> None:
    sequences, _ = shop
    deny = tmp_path / "deny.txt"
    deny.write_text("i03\ni11\n")
    changes = {"exclude_seen": True, "deny_items": str(deny)} if filtered else {}
    split = evaluator(shop, **changes)
    ranked = rank_users(split.inputs.popular, split.users, None)
    counts = training_counts(sequences)
    for user, listed in zip(ranked.users, ranked.items.tolist(), strict=True):
        first, last = sequences.offsets[user : user + 2]
        seen = sequences.items[first : last - 1].tolist()
        barred = {3, 11, *seen} if filtered else set()
        best = sorted(set(range(ITEMS)) - barred, key=lambda i: (-counts[i], i))[:10]
        assert [item for item in listed if item >= 0] == best


def test_lists_equal_a_plain_expansion(shop) -> None:
    _, table = shop
    groups = table.groups()
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, ITEMS)
    catalogue = Catalogue.build(groups, CODES, counts, torch.device("cpu"))
    width = 5
    sids = np.stack([rng.permutation(len(groups.sizes))[:width] for _ in range(USERS)])
    sids[0, 2:], sids[1] = -1, -1
    scores = -torch.arange(width, dtype=torch.float32).expand(USERS, -1)
    nothing = torch.empty(USERS, 0, dtype=torch.int64)
    rows = torch.from_numpy(sids)
    items, found = items_of(rows, scores, catalogue, nothing, width)
    for user in range(USERS):
        expected = []
        for column, sid in enumerate(sids[user]):
            if sid >= 0:
                members = np.flatnonzero(groups.sid_of_item == sid)
                members = sorted(members, key=lambda i: (-counts[i], i))
                expected += [(int(i), -float(column)) for i in members]
        expected += [(-1, -math.inf)] * width
        got = list(zip(items[user].tolist(), found[user].tolist(), strict=True))
        assert got == expected[:width]
