"""The comparison against plain loops over users, sets and resamples."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.evaluation import bootstrap
from sidiff.evaluation.bootstrap import bootstrap_intervals
from sidiff.evaluation.comparison import bucket_names, compare
from sidiff.evaluation.figures import comparison_figure
from sidiff.evaluation.headlines import comparison_table, headlines, rate_text
from sidiff.evaluation.settings import BootstrapParameters, ComparisonParameters
from sidiff.ranking.results import Cost, Results

ITEMS, K = 40, 6
CUTOFFS = [2, 5]
SID_OF_ITEM = np.arange(ITEMS) // 2
TARGETS = np.random.default_rng(1).integers(0, ITEMS, 60)
HISTORY = np.random.default_rng(2).integers(1, 30, 60)
COUNTS = np.where(np.arange(ITEMS) < 8, 0, np.arange(ITEMS) * 4)
CATALOGUE = pl.DataFrame(
    {
        "training_count": COUNTS,
        "held_out": np.arange(ITEMS) < 5,
    }
)
PARAMETERS = ComparisonParameters.model_validate(
    {
        "references": ["sasrec"],
        "bootstrap": {"resamples": 50, "confidence": 0.9, "seed": 7},
        "popularity_edges": [1, 40, 80],
        "history_edges": [5, 10],
    }
)
EVERYBODY = np.arange(60)
SOME = np.arange(10, 35)


def results(method: str, seed: int, users: np.ndarray) -> pl.DataFrame:
    """Lists with the target in about half of them, and some empty places."""
    rng = np.random.default_rng([len(method), seed])
    items = np.stack([rng.permutation(ITEMS)[:K] for _ in users])
    hit = rng.random(len(users)) < 0.5
    place = rng.integers(0, K, len(users))
    items[hit, place[hit]] = TARGETS[users][hit]
    sids = SID_OF_ITEM[items]
    items[rng.random(items.shape) < 0.1] = -1
    sids[rng.random(sids.shape) < 0.1] = -1
    scores = np.zeros(items.shape, dtype=np.float32)
    cost = Cost(1.0, 2.0)
    made = Results(items, scores, sids, users, TARGETS[users], HISTORY[users], cost)
    return made.to_frame(method, seed)


def costs(*methods: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"method": name, "seed": seed, **asdict(Cost(2.0, 10.0 + seed, calls))}
        for name, calls in zip(methods, (4.0, 0.0), strict=False)
        for seed in (1, 2)
    )


DECODERS = pl.concat(
    [
        results("cpd", 1, EVERYBODY),
        results("cpd", 2, EVERYBODY),
        results("random_order", 1, SOME),
    ]
)
BASELINES = pl.concat(
    [
        results("sasrec", 1, EVERYBODY),
        results("sasrec", 2, EVERYBODY),
        results("popularity", 1, EVERYBODY),
    ]
)


def run(**changes: Any) -> pl.DataFrame:
    given = {
        "results": {"decoder": DECODERS, "baseline": BASELINES},
        "costs": {"decoder": costs("cpd"), "baseline": costs("popularity", "sasrec")},
        "catalogue": CATALOGUE,
        "sid_of_item": SID_OF_ITEM,
        "cutoffs": CUTOFFS,
        "parameters": PARAMETERS,
    }
    return compare(**(given | changes))


COMPARISON = run()


def row(method: str, level: str, metric: str, by: str = "all", bucket: str = "all"):
    found = COMPARISON.filter(
        method=method, level=level, metric=metric, by=by, bucket=bucket
    )
    assert len(found) == 1, found
    return found.row(0, named=True)


def by_hand(method: str, level: str, metric: str) -> dict[int, dict[int, float]]:
    """Value per seed and user, one user after the other."""
    name, k = metric.split("_at_")
    values: dict[int, dict[int, float]] = {}
    for ranking in pl.concat([DECODERS, BASELINES]).iter_rows(named=True):
        if ranking["method"] != method:
            continue
        target, ranked = ranking["target"], ranking["items"]
        if level == "sid":
            target, ranked = int(SID_OF_ITEM[target]), ranking["sids"]
        first = list(ranked)[: int(k)]
        value = 0.0
        if target in first:
            value = 1.0 if name == "recall" else 1 / math.log2(first.index(target) + 2)
        values.setdefault(ranking["seed"], {})[ranking["user"]] = value
    return values


@pytest.mark.parametrize("method", ["cpd", "random_order", "sasrec", "popularity"])
@pytest.mark.parametrize("level", ["item", "sid"])
@pytest.mark.parametrize(
    "metric", ["recall_at_2", "ndcg_at_2", "recall_at_5", "ndcg_at_5"]
)
def test_means_and_spread_by_hand(method: str, level: str, metric: str) -> None:
    values = by_hand(method, level, metric)
    means = [np.mean(list(seed.values())) for seed in values.values()]
    found = row(method, level, metric)
    assert found["mean"] == pytest.approx(np.mean(means))
    assert found["users"] == len(values[1])
    assert found["seeds"] == len(values)
    by_seed = COMPARISON.filter(method=method, level=level, metric=metric, by="seed")
    if len(means) == 1:
        assert found["sd"] is None
        assert by_seed.is_empty()
    else:
        assert found["sd"] == pytest.approx(abs(means[0] - means[1]) / math.sqrt(2))
        assert by_seed["bucket"].to_list() == [str(seed) for seed in values]
        assert by_seed["mean"].to_list() == pytest.approx(means)


def resampled(values: dict[int, float]) -> tuple[float, float]:
    """Bounds by a loop over resamples and users; the users of all methods are 60."""
    rng = np.random.default_rng(PARAMETERS.bootstrap.seed)
    means = []
    for _ in range(PARAMETERS.bootstrap.resamples):
        drawn = [int(u) for u in rng.integers(60, size=60)]
        means.append(np.mean([values[u] for u in drawn if u in values]))
    return tuple(np.quantile(means, [0.05, 0.95]))  # type: ignore[return-value]


def average(values: dict[int, dict[int, float]]) -> dict[int, float]:
    return {u: float(np.mean([s[u] for s in values.values()])) for u in values[1]}


@pytest.mark.parametrize("method", ["cpd", "random_order"])
@pytest.mark.parametrize("cells", [1, 130, 10**6])
def test_intervals_against_a_loop(
    method: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "CELLS", cells)
    found = run().filter(method=method, level="sid", metric="ndcg_at_5")
    bounds = resampled(average(by_hand(method, "sid", "ndcg_at_5")))
    assert found.select("low", "high").row(0) == pytest.approx(bounds)


def test_differences_are_paired_on_common_users() -> None:
    base = average(by_hand("sasrec", "item", "ndcg_at_5"))
    for method, users in (("cpd", 60), ("random_order", 25), ("popularity", 60)):
        values = average(by_hand(method, "item", "ndcg_at_5"))
        difference = {u: v - base[u] for u, v in values.items()}
        found = row(method, "item", "ndcg_at_5_minus_sasrec")
        assert found["users"] == users
        assert found["mean"] == pytest.approx(np.mean(list(difference.values())))
        assert (found["low"], found["high"]) == pytest.approx(resampled(difference))
    metrics = COMPARISON.filter(method="sasrec")["metric"]
    assert not metrics.str.contains("minus").any()


def test_a_method_differs_from_itself_by_nothing_at_all() -> None:
    twin = BASELINES.filter(method="sasrec").with_columns(method=pl.lit("twin"))
    found = run(results={"decoder": twin, "baseline": BASELINES}).filter(
        metric="ndcg_at_5_minus_sasrec", method="twin"
    )
    assert found.select("mean", "low", "high").row(0) == (0.0, 0.0, 0.0)


def bucket_of(by: str, user: int) -> str:
    if by == "popularity":
        count = COUNTS[TARGETS[user]]
        return (
            "0"
            if count < 1
            else "1-39"
            if count < 40
            else ("40-79" if count < 80 else "80+")
        )
    return "1-4" if HISTORY[user] < 5 else "5-9" if HISTORY[user] < 10 else "10+"


@pytest.mark.parametrize("by", ["popularity", "history"])
@pytest.mark.parametrize("method", ["cpd", "random_order"])
def test_buckets_partition_the_users(by: str, method: str) -> None:
    values = average(by_hand(method, "item", "recall_at_5"))
    rows = COMPARISON.filter(method=method, by=by)
    assert rows["users"].sum() == len(values)
    whole = row(method, "item", "recall_at_5")["mean"]
    assert (rows["users"] * rows["mean"]).sum() / len(values) == pytest.approx(whole)
    for found in rows.iter_rows(named=True):
        inside = [v for u, v in values.items() if bucket_of(by, u) == found["bucket"]]
        assert found["users"] == len(inside)
        assert found["mean"] == pytest.approx(np.mean(inside))


def test_held_out_targets_have_a_row() -> None:
    values = average(by_hand("cpd", "item", "recall_at_5"))
    inside = [v for u, v in values.items() if TARGETS[u] < 5]
    found = row("cpd", "item", "recall_at_5", "held_out", "held out")
    assert found["users"] == len(inside) > 0
    assert found["mean"] == pytest.approx(np.mean(inside))
    for catalogue in (
        CATALOGUE.drop("held_out"),
        CATALOGUE.with_columns(held_out=pl.lit(value=False)),
    ):
        assert not len(run(catalogue=catalogue).filter(by="held_out"))


def test_coverage_and_popular_share_by_sets() -> None:
    # 1 % of 40 items is one item: the one with the largest count.
    coverage, share = [], []
    for seed in (1, 2):
        lists = DECODERS.filter(method="cpd", seed=seed)["items"].to_list()
        listed = [i for ranked in lists for i in ranked[:5] if i >= 0]
        coverage.append(len(set(listed)) / ITEMS)
        share.append(sum(i == ITEMS - 1 for i in listed) / len(listed))
    for metric, values in (("coverage_at_5", coverage), ("popular_share_at_5", share)):
        found = row("cpd", "lists", metric)
        assert found["mean"] == pytest.approx(np.mean(values))
        assert found["sd"] == pytest.approx(np.std(values, ddof=1))


def test_costs_are_means_over_seeds_and_finite() -> None:
    found = row("cpd", "cost", "users_per_second")
    assert (found["mean"], found["seeds"]) == (11.5, 2)
    assert found["sd"] == pytest.approx(math.sqrt(0.5))
    endless = costs("cpd").with_columns(users_per_second=pl.lit(math.inf))
    again = run(costs={"decoder": endless, "baseline": costs("sasrec")})
    assert not len(again.filter(method="cpd", metric="users_per_second"))
    assert len(again.filter(method="cpd", metric="seconds"))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(len(DECODERS))))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    shuffled = DECODERS[order]
    again = run(results={"decoder": shuffled, "baseline": BASELINES})
    keys = ["method", "level", "metric", "by", "bucket"]
    exact = [*keys, "users", "seeds"]
    one, two = (frame.sort(keys) for frame in (COMPARISON, again))
    assert one.select(exact).equals(two.select(exact))
    for name in ("mean", "sd", "low", "high"):
        np.testing.assert_allclose(one[name].to_numpy(), two[name].to_numpy())


def test_seeds_may_cover_different_users() -> None:
    halves = [results("cpd", 1, EVERYBODY[:40]), results("cpd", 2, EVERYBODY[20:])]
    found = run(results={"decoder": pl.concat(halves), "baseline": BASELINES}).filter(
        method="cpd", level="item", metric="recall_at_5", by="all"
    )
    (low, mean, high) = found.select("low", "mean", "high").row(0)
    assert found["users"].item() == 60
    assert low <= mean <= high


def test_a_bucket_that_a_resample_misses_still_has_an_interval() -> None:
    values = np.array([[1.0, np.nan], [0.0, np.nan], [0.0, 0.25]])
    parameters = BootstrapParameters(resamples=40, confidence=0.9, seed=0)
    low, high = bootstrap_intervals(values, parameters)
    assert (low[1], high[1]) == (0.25, 0.25)
    assert 0 <= low[0] < high[0] <= 1


def test_names_of_buckets() -> None:
    assert bucket_names([1, 5, 10], 0) == ["0", "1-4", "5-9", "10+"]
    assert bucket_names([3, 4], 1) == ["1-2", "3", "4+"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"parameters": PARAMETERS.model_copy(update={"references": ["gru"]})},
            "no method gru to compare with.*cpd, random_order, sasrec, popularity",
        ),
        ({"results": {"decoder": DECODERS, "baseline": DECODERS}}, "one name"),
        ({"cutoffs": [2, 7]}, "hold 6 places, fewer than the cutoff 7"),
        ({"catalogue": CATALOGUE[:20]}, "other users or items"),
        (
            {
                "results": {
                    "decoder": DECODERS,
                    "baseline": BASELINES.with_columns(pl.col("target") * 0),
                }
            },
            "other users or items",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SidiffError, match=sentence):
        run(**changes)


def test_methods_with_fewer_users_come_last() -> None:
    best = pl.when(method="random_order", level="item").then(1.0)
    lines = headlines(COMPARISON.with_columns(best.otherwise("mean").alias("mean")))
    assert lines[-1].method == "random_order"
    assert [line.everybody for line in lines] == [True, True, True, False]
    scores = [line.ndcg.mean for line in lines[:-1]]
    assert scores == sorted(scores, reverse=True)
    assert lines[-1].users_per_second is None
    (cpd,) = (line for line in lines if line.method == "cpd")
    assert (cpd.users, cpd.seeds, cpd.cutoff) == (60, 2, 5)
    assert cpd.sid_ndcg.mean == row("cpd", "sid", "ndcg_at_5")["mean"]
    assert (cpd.users_per_second, cpd.denoiser_calls) == (11.5, 4.0)


def test_the_page_shows_every_method_and_part() -> None:
    page = comparison_table(COMPARISON, "toys")
    assert page.startswith("# Methods compared on toys\n")
    assert "90 % bootstrap" in page
    for title in (
        "## Item level",
        "## Semantic-ID level",
        "## Difference to SASRec",
        "## Recall@5 by training occurrences of the target",
        "## Recall@5 by items in the history",
        "## Recall@5 for items held out of training",
        "## Lists and costs",
    ):
        part = page.split(title + "\n")[1].split("\n## ")[0]
        table = [line for line in part.splitlines() if line.startswith("|")]
        methods = 3 if "Difference" in title else 4
        assert len(table) == 2 + methods, title
        assert len({line.count("|") for line in table}) == 1
    found = row("cpd", "item", "ndcg_at_5")
    text = f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"
    (line,) = (
        line
        for line in page.split("## Semantic")[0].splitlines()
        if line.startswith("| CPD")
    )
    assert f"{text} | {found['sd']:.4f} |" in line


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "\u2013"),
        (3.14, "3.1"),
        (310.4, "310"),
        (41e3, "41,000"),
        (1.2e6, "1.2 M"),
    ],
)
def test_rates_in_few_characters(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


def test_the_figure_shows_means_and_intervals() -> None:
    lines = headlines(COMPARISON)
    panels = comparison_figure(lines).axes
    labels = [text.get_text() for text in panels[0].get_yticklabels()]
    assert labels == [line.label for line in lines]
    for axes, level in zip(panels, ("ndcg", "sid_ndcg"), strict=True):
        drawn = [line.get_xdata() for line in axes.lines]
        for line in lines:
            estimate = getattr(line, level)
            assert [estimate.low, estimate.high] in [list(x) for x in drawn]
            assert [estimate.mean] in [list(x) for x in drawn]
