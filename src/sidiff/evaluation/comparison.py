"""The comparison of decoders and baselines, from their lists for the test users.

The figure of a method for a user is the mean over the seeds that ranked this user. The
figure of the method is the mean over its users. Methods may cover different users:
every row has their number, and a difference of two methods is over the users of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from sidiff.errors import SidiffError
from sidiff.evaluation import metrics as m
from sidiff.evaluation.bootstrap import bootstrap_intervals
from sidiff.ranking.results import Cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.evaluation.settings import BootstrapParameters, ComparisonParameters

SCHEMA = {
    "method": pl.String,
    "kind": pl.String,
    "level": pl.String,
    "metric": pl.String,
    "by": pl.String,
    "bucket": pl.String,
    "users": pl.Int64,
    "seeds": pl.Int64,
    "mean": pl.Float64,
    "sd": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "confidence": pl.Float64,
}
"""Columns of the comparison, see ``compare``."""

POPULAR_SHARE = 0.01
"""Share of the catalogue that makes up the most popular items."""

Key = tuple[str, str, str, str, str, str]
"""Columns method, kind, level, metric, by and bucket of a row."""


class _Column(NamedTuple):
    """One figure per user.

    Attributes:
        key: of its row.
        values: mean over seeds, NaN for a user left out, ``(U,)``.
        seeds: number of seeds.
        sd: over seeds, of the means over users.
    """

    key: Key
    values: NDArray[np.float64]
    seeds: int
    sd: float | None


def compare(
    results: Mapping[str, pl.DataFrame],
    costs: Mapping[str, pl.DataFrame],
    catalogue: pl.DataFrame,
    sid_of_item: NDArray[np.int64],
    cutoffs: Sequence[int],
    parameters: ComparisonParameters,
) -> pl.DataFrame:
    """Measure every method at item level and at SID level.

    At item level a hit is the target among the recommended items; at SID level it is
    the target's SID among the ranked SIDs. ``level`` and ``metric`` of the rows:

    - item, sid: ``recall_at_k`` and ``ndcg_at_k``. Methods with several seeds have rows
      of each, with ``by`` seed. Recall at the largest cutoff has rows of buckets, with
      ``by`` popularity, history or held_out.
    - item: ``ndcg_at_k_minus_REFERENCE`` on the users of both, per reference.
    - lists: ``coverage_at_k``, the share of the catalogue in the lists, and
      ``popular_share_at_k``, the share of the 1 % most popular items in the lists. Both
      depend on the number of users.
    - cost: the fields of ``Cost``, where finite.

    Args:
        results: frames of ``Results.to_frame``, by kind of method (decoder, baseline).
        costs: one row per method and seed with the fields of ``Cost``, by kind.
        catalogue: training_count of each item and, optionally, held_out (bool).
        sid_of_item: row of each item's SID, ``(N,)``.
        cutoffs: the k's.
        parameters: references, bootstrap and buckets.

    Returns:
        One row per figure: method, kind, level, metric, by ("all" without buckets),
        bucket, users, seeds, mean, sd over seeds (null with a single one), low and
        high (percentile bootstrap over users, null for lists and cost), confidence
        (of these intervals). Methods in the order of the results.

    Raises:
        SidiffError: the frames are of different runs, have lists shorter than the
            largest cutoff, or lack a reference.
    """
    users = _all_users(results, len(catalogue))
    named = _by_method(results, parameters.references)
    buckets = _buckets(users, catalogue, parameters)
    columns: list[_Column] = []
    for (kind, name), frame in named.items():
        columns += _columns(kind, name, frame, users, sid_of_item, cutoffs, buckets)
    measured = list(columns)
    for reference in parameters.references:
        columns += _differences(measured, reference, max(cutoffs))
    rows = _rows(columns, parameters.bootstrap)
    for (kind, name), frame in named.items():
        figures = _of_lists(frame, catalogue, max(cutoffs))
        figures |= _of_cost(name, costs[kind])
        rows += _rows_of_figures(name, kind, figures, frame["user"].n_unique())
    place = {name: index for index, (_, name) in enumerate(named)}
    rows.sort(key=lambda row: place[row[0]])
    confidence = parameters.bootstrap.confidence
    return pl.DataFrame([(*row, confidence) for row in rows], SCHEMA, orient="row")


def _rows(
    columns: list[_Column], bootstrap: BootstrapParameters
) -> list[tuple[Any, ...]]:
    """Rows of figures over users, with bootstrap intervals."""
    values = np.stack([column.values for column in columns], axis=1)
    return [
        (*column.key, int(covered), column.seeds, float(mean), column.sd, low, high)
        for column, covered, mean, low, high in zip(
            columns,
            (~np.isnan(values)).sum(axis=0),
            np.nanmean(values, axis=0),
            *bootstrap_intervals(values, bootstrap).tolist(),
            strict=True,
        )
    ]


def _rows_of_figures(
    name: str,
    kind: str,
    figures: Mapping[tuple[str, str], NDArray[np.float64]],
    users: int,
) -> list[tuple[Any, ...]]:
    """Rows of figures with one value per seed."""
    found = []
    for (level, metric), of_seeds in figures.items():
        key = (name, kind, level, metric, "all", "all")
        mean, sd = float(of_seeds.mean()), _spread(of_seeds)
        found.append((*key, users, len(of_seeds), mean, sd, None, None))
    return found


def _all_users(results: Mapping[str, pl.DataFrame], items: int) -> pl.DataFrame:
    """User, target and history of the users of all methods, ordered by user."""
    users = (
        pl.concat([f.select("user", "target", "history") for f in results.values()])
        .group_by("user")
        # Methods may read only the end of a history; its length is the largest.
        .agg(
            pl.col("target").first(),
            pl.col("target").n_unique().alias("targets"),
            pl.col("history").max(),
        )
        .sort("user")
    )
    known = users["target"].is_between(0, items - 1)
    if not (known & (users["targets"] == 1)).all():
        raise SidiffError(
            f"The stored {' and '.join(f'{kind}_results' for kind in results)} were "
            "made for other users or items; run kedro run --pipeline=full again, or "
            "choose matching --load-versions."
        )
    return users


def _by_method(
    results: Mapping[str, pl.DataFrame], references: Sequence[str]
) -> dict[tuple[str, str], pl.DataFrame]:
    """The results of each method, by its kind and name."""
    named = {
        (kind, name): frame
        for kind, ranked in results.items()
        for (name,), frame in ranked.partition_by(
            "method", as_dict=True, maintain_order=True
        ).items()
    }
    names = [name for _, name in named]
    if len(set(names)) < len(names):
        raise SidiffError(
            f"A decoder and a baseline have one name ({', '.join(names)}); rename one."
        )
    unknown = [name for name in references if name not in names]
    if unknown:
        raise SidiffError(
            f"There is no method {unknown[0]} to compare with; set "
            f"comparison.references to some of {', '.join(names)}."
        )
    return named


def _buckets(
    users: pl.DataFrame, catalogue: pl.DataFrame, parameters: ComparisonParameters
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Masks ``(U,)`` of the users of every non-empty bucket, by (by, bucket)."""
    of_targets = catalogue[users["target"]]
    counts, lengths = of_targets["training_count"], users["history"]
    buckets = {}
    for by, values, edges, least in (
        ("popularity", counts, parameters.popularity_edges, 0),
        ("history", lengths, parameters.history_edges, 1),
    ):
        index = np.searchsorted(edges, values.to_numpy(), side="right")
        for place, name in enumerate(bucket_names(edges, least)):
            buckets[by, name] = index == place
    if "held_out" in catalogue.columns:
        buckets["held_out", "held out"] = of_targets["held_out"].to_numpy()
    return {key: mask for key, mask in buckets.items() if mask.any()}


def bucket_names(edges: Sequence[int], least: int) -> list[str]:
    """Names of the buckets: 0, 1-4, 5-9, 10+ for ``edges`` 1, 5 and 10.

    ``least`` is the smallest value of the first bucket.
    """
    bounded = [
        str(low) if high == low + 1 else f"{low}-{high - 1}"
        for low, high in pairwise([least, *edges])
    ]
    return [*bounded, f"{edges[-1]}+"]


def _columns(
    kind: str,
    method: str,
    frame: pl.DataFrame,
    users: pl.DataFrame,
    sid_of_item: NDArray[np.int64],
    cutoffs: Sequence[int],
    buckets: Mapping[tuple[str, str], NDArray[np.bool_]],
) -> Iterator[_Column]:
    """Recall and NDCG of one method at both levels, for all users and by bucket."""
    seeds = frame.partition_by("seed", maintain_order=True)
    for level in ("item", "sid"):
        values: dict[str, NDArray[np.float64]] = {}
        for index, seed in enumerate(seeds):
            rows = users["user"].search_sorted(seed["user"]).to_numpy()
            for name, value in _hits(seed, level, sid_of_item, cutoffs).items():
                values.setdefault(name, np.full((len(seeds), len(users)), np.nan))
                values[name][index, rows] = value
        for name, value in values.items():
            yield _column((method, kind, level, name, "all", "all"), value)
            if len(seeds) > 1:
                for one, own in zip(seeds, value, strict=True):
                    key = (method, kind, level, name, "seed", str(one["seed"][0]))
                    yield _column(key, own[None])
        if level == "item":
            name = f"recall_at_{max(cutoffs)}"
            for (by, bucket), mask in buckets.items():
                inside = np.where(mask, values[name], np.nan)
                if not np.isnan(inside).all():
                    yield _column((method, kind, level, name, by, bucket), inside)


def _hits(
    frame: pl.DataFrame,
    level: str,
    sid_of_item: NDArray[np.int64],
    cutoffs: Sequence[int],
) -> m.Values:
    """Metrics of each user of one method and seed."""
    ranked = frame[f"{level}s"].to_numpy()
    if ranked.shape[1] < max(cutoffs):
        raise SidiffError(
            f"The stored results of {frame['method'][0]} hold {ranked.shape[1]} "
            f"places, fewer than the cutoff {max(cutoffs)}; run their pipeline again."
        )
    targets = frame["target"].to_numpy()
    return m.hit_metrics(
        ranked, targets if level == "item" else sid_of_item[targets], cutoffs
    )


def _column(key: Key, values: NDArray[np.float64]) -> _Column:
    """The mean over seeds of values ``(seeds, U)``, NaN for absent users."""
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    by_user, by_seed = present.sum(axis=0), present.sum(axis=1)
    mean = np.full(values.shape[1], np.nan)
    np.divide(filled.sum(axis=0), by_user, out=mean, where=by_user > 0)
    some = by_seed > 0
    sd = _spread(filled.sum(axis=1)[some] / by_seed[some])
    return _Column(key, mean, len(values), sd)


def _differences(
    columns: Sequence[_Column], reference: str, cutoff: int
) -> Iterator[_Column]:
    """NDCG of each method minus that of the reference, on the users of both."""
    metric = f"ndcg_at_{cutoff}"
    found = {
        column.key[:2]: column
        for column in columns
        if column.key[2:] == ("item", metric, "all", "all")
    }
    (base,) = (column for (name, _), column in found.items() if name == reference)
    for (name, kind), column in found.items():
        values = column.values - base.values
        if name != reference and not np.isnan(values).all():
            # No spread over seeds: seeds of two methods are not paired.
            key = (name, kind, "item", f"{metric}_minus_{reference}", "all", "all")
            yield _Column(key, values, column.seeds, None)


def _of_lists(
    frame: pl.DataFrame, catalogue: pl.DataFrame, k: int
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Coverage of the lists, and their share of the most popular items, per seed."""
    items = len(catalogue)
    counts = catalogue["training_count"].to_numpy().astype(np.int64)
    popular = np.zeros(items, dtype=bool)
    size = max(1, round(POPULAR_SHARE * items))
    popular[np.argsort(-counts, kind="stable")[:size]] = True
    coverage, share = [], []
    for seed in frame.partition_by("seed", maintain_order=True):
        listed = seed["items"].to_numpy()[:, :k].ravel()
        listed = listed[listed >= 0]
        coverage.append(len(np.unique(listed)) / items)
        share.append(float(popular[listed].mean()) if len(listed) else 0.0)
    return {
        ("lists", f"coverage_at_{k}"): np.array(coverage),
        ("lists", f"popular_share_at_{k}"): np.array(share),
    }


def _of_cost(
    method: str, costs: pl.DataFrame
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """The finite values of each field of ``Cost``, per seed."""
    of_method, found = costs.filter(method=method), {}
    for field in fields(Cost):
        values = of_method[field.name].cast(pl.Float64)
        values = values.filter(values.is_finite())
        if len(values):
            found["cost", field.name] = values.to_numpy()
    return found


def _spread(values: NDArray[np.float64]) -> float | None:
    """Standard deviation of a sample; None for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None
