"""Decoders and baselines side by side, from what each ranked for the users.

A method's figure for a user is its mean over the seeds that ranked this user; the
method's figure is the mean of these over its users. Methods may cover different users:
every row says how many, and a difference between two methods takes the users of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sidiff.errors import SidiffError
from sidiff.evaluation import metrics as m
from sidiff.evaluation.bootstrap import bootstrap_intervals
from sidiff.evaluation.buckets import buckets_of
from sidiff.ranking.results import Cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.evaluation.settings import ComparisonParameters

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
"""Share of the catalogue that counts as the most popular items."""


@dataclass(frozen=True)
class _Column:
    """One figure per user, and its mean in each seed.

    Attributes:
        key: the columns method to bucket of the result.
        values: mean over seeds, NaN for a user left out, ``(U,)``.
        seeds: number of seeds.
        means: mean over users in each seed that has any.
    """

    key: tuple[str, str, str, str, str, str]
    values: NDArray[np.float64]
    seeds: int
    means: NDArray[np.float64]


def compare(
    results: Mapping[str, pl.DataFrame],
    costs: Mapping[str, pl.DataFrame],
    catalogue: pl.DataFrame,
    sid_of_item: NDArray[np.int64],
    cutoffs: Sequence[int],
    parameters: ComparisonParameters,
) -> pl.DataFrame:
    """Measure every method at item level and at SID level.

    At item level a hit is the target itself among the recommended items, in the order
    in which they were recommended; at SID level it is the target's SID among the
    ranked SIDs. ``level`` and ``metric`` of the rows:

    - item, sid: ``recall_at_k`` and ``ndcg_at_k``, of several seeds also of each, where
      ``by`` is seed; Recall at the largest cutoff also per bucket, where it is
      popularity, history or held_out.
    - item: ``ndcg_at_k_minus_REFERENCE`` on the users of both, per reference.
    - lists: ``coverage_at_k``, the share of the catalogue that some user is
      recommended, and ``popular_share_at_k``, the share of recommendations that are
      among the 1 % most popular items. Both depend on the number of users.
    - cost: the fields of ``Cost``, where finite.

    Args:
        results: frames of ``Results.to_frame``, by kind of method (decoder, baseline);
            N items and S distinct SIDs.
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
        SidiffError: the frames do not belong together, hold fewer places than the
            largest cutoff, or lack a reference.
    """
    users = _all_users(results, len(catalogue))
    named = _by_method(results, parameters.references)
    buckets = buckets_of(users, catalogue, parameters)
    columns: list[_Column] = []
    lists: list[dict[str, Any]] = []
    for (kind, name), frame in named.items():
        columns += _columns(kind, name, frame, users, sid_of_item, cutoffs, buckets)
        lists += _list_rows(kind, name, frame, catalogue, max(cutoffs))
    measured = list(columns)
    for reference in parameters.references:
        columns += _differences(measured, reference, max(cutoffs))
    rows = _rows(columns, parameters) + lists
    for (kind, name), frame in named.items():
        rows += _cost_rows(kind, name, costs[kind], frame["user"].n_unique())
    place = {name: index for index, (_, name) in enumerate(named)}
    rows.sort(key=lambda row: place[row["method"]])
    confidence = {"confidence": parameters.bootstrap.level}
    return pl.DataFrame([row | confidence for row in rows], SCHEMA, orient="row")


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


def flat_report(comparison: pl.DataFrame) -> dict[str, float]:
    """The figures by name, such as ``sasrec/item/ndcg_at_10``, ready for JSON.

    Every mean has an entry; those at the largest cutoff have ``_sd``, ``_low`` and
    ``_high`` beside it where they exist. ``METHOD/users`` counts the users.

    Args:
        comparison: as ``compare`` returns it.
    """
    ends = (f"_at_{largest_cutoff(comparison)}", "_minus_")
    report: dict[str, float] = {}
    for row in comparison.iter_rows(named=True):
        name = f"{row['method']}/{row['level']}/{row['metric']}"
        if row["by"] == "all":
            report.setdefault(f"{row['method']}/users", row["users"])
        else:
            # MLflow takes no plus sign in a name.
            bucket = row["bucket"].replace("+", " or more").replace(" ", "_")
            name += f"/{row['by']}/{bucket}"
        report[name] = row["mean"]
        if row["by"] == "all" and (name.endswith(ends[0]) or ends[1] in name):
            for key in ("sd", "low", "high"):
                if row[key] is not None:
                    report[f"{name}_{key}"] = row[key]
    return report


def largest_cutoff(comparison: pl.DataFrame) -> int:
    """The k of the headline figures."""
    cutoffs = comparison["metric"].str.extract(r"^recall_at_(\d+)$").cast(pl.Int64)
    return int(cutoffs.drop_nulls().max())  # type: ignore[arg-type]


def _all_users(results: Mapping[str, pl.DataFrame], items: int) -> pl.DataFrame:
    """User, target and history of everybody whom any method ranked, by user."""
    for kind, frame in results.items():
        if not len(frame):
            raise SidiffError(
                f"The stored {kind}_results are empty; run their pipeline again."
            )
        if frame.select("method", "seed", "user").is_duplicated().any():
            raise SidiffError(
                f"The stored {kind}_results rank a user twice with one method and "
                "seed; run their pipeline again."
            )
    users = (
        pl.concat([f.select("user", "target", "history") for f in results.values()])
        .group_by("user")
        # A method may look at the end of a history only; its length is the longest.
        .agg(
            pl.col("target").first(),
            pl.col("target").n_unique().alias("targets"),
            pl.col("history").max(),
        )
        .sort("user")
    )
    if (users["targets"] > 1).any() or not users["target"].is_between(
        0, items - 1
    ).all():
        raise SidiffError(
            f"The stored {' and '.join(f'{kind}_results' for kind in results)} were "
            "made for other users or items; run kedro run --pipeline=full again, or "
            "choose matching --load-versions."
        )
    return users


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
            rows = np.searchsorted(users["user"].to_numpy(), seed["user"].to_numpy())
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
            for (by, bucket), chosen in buckets.items():
                inside = np.where(chosen, values[name], np.nan)
                if not np.isnan(inside).all():
                    yield _column((method, kind, level, name, by, bucket), inside)


def _hits(
    frame: pl.DataFrame,
    level: str,
    sid_of_item: NDArray[np.int64],
    cutoffs: Sequence[int],
) -> m.Values:
    """Metrics of each row of one method and seed."""
    ranked = frame["items" if level == "item" else "sids"].to_numpy()
    if ranked.shape[1] < max(cutoffs):
        raise SidiffError(
            f"The stored results of {frame['method'][0]} hold {ranked.shape[1]} "
            f"places, fewer than the cutoff {max(cutoffs)}; run their pipeline again."
        )
    targets = frame["target"].to_numpy()
    return m.hit_metrics(
        ranked, targets if level == "item" else sid_of_item[targets], cutoffs
    )


def _column(
    key: tuple[str, str, str, str, str, str], values: NDArray[np.float64]
) -> _Column:
    """Average ``(seeds, U)`` with NaN for absent users over either."""
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    by_user, by_seed = present.sum(axis=0), present.sum(axis=1)
    mean = np.full(values.shape[1], np.nan)
    np.divide(filled.sum(axis=0), by_user, out=mean, where=by_user > 0)
    filled_seeds = by_seed > 0
    means = filled.sum(axis=1)[filled_seeds] / by_seed[filled_seeds]
    return _Column(key, mean, len(values), means)


def _differences(
    columns: Sequence[_Column], reference: str, cutoff: int
) -> list[_Column]:
    """NDCG of each method less that of the reference, on the users of both."""
    metric = f"ndcg_at_{cutoff}"
    found = {
        column.key[:2]: column
        for column in columns
        if column.key[2:] == ("item", metric, "all", "all")
    }
    (base,) = (column for (name, _), column in found.items() if name == reference)
    differences = []
    for (name, kind), column in found.items():
        values = column.values - base.values
        if name != reference and not np.isnan(values).all():
            # No spread over seeds: those of two methods have nothing in common.
            key = (name, kind, "item", f"{metric}_minus_{reference}", "all", "all")
            differences.append(_Column(key, values, column.seeds, np.empty(0)))
    return differences


def _rows(
    columns: Sequence[_Column], parameters: ComparisonParameters
) -> list[dict[str, Any]]:
    values = np.stack([column.values for column in columns], axis=1)
    low, high = bootstrap_intervals(values, parameters.bootstrap)
    means, counts = np.nanmean(values, axis=0), (~np.isnan(values)).sum(axis=0)
    return [
        _row(
            column.key,
            users=int(counts[index]),
            seeds=column.seeds,
            mean=float(means[index]),
            sd=_spread(column.means),
            low=float(low[index]),
            high=float(high[index]),
        )
        for index, column in enumerate(columns)
    ]


def _list_rows(
    kind: str, method: str, frame: pl.DataFrame, catalogue: pl.DataFrame, k: int
) -> list[dict[str, Any]]:
    """Coverage, and how much of the lists the most popular items take."""
    items = len(catalogue)
    counts = catalogue["training_count"].to_numpy()
    popular = np.zeros(items, dtype=bool)
    most = max(1, round(POPULAR_SHARE * items))
    popular[np.argsort(-counts.astype(np.int64), kind="stable")[:most]] = True
    coverage, share = [], []
    for seed in frame.partition_by("seed", maintain_order=True):
        listed = seed["items"].to_numpy()[:, :k].ravel()
        listed = listed[listed >= 0]
        coverage.append(len(np.unique(listed)) / items)
        share.append(float(popular[listed].mean()) if len(listed) else 0.0)
    users = frame["user"].n_unique()
    figures = {f"coverage_at_{k}": coverage, f"popular_share_at_{k}": share}
    return [
        _seed_row(kind, method, "lists", name, users, np.array(values))
        for name, values in figures.items()
    ]


def _cost_rows(
    kind: str, method: str, costs: pl.DataFrame, users: int
) -> list[dict[str, Any]]:
    rows = []
    mine = costs.filter(pl.col("method") == method)
    for field in fields(Cost):
        values = mine[field.name].cast(pl.Float64).drop_nulls().to_numpy()
        values = values[np.isfinite(values)]
        if len(values):
            rows.append(_seed_row(kind, method, "cost", field.name, users, values))
    return rows


def _seed_row(
    kind: str,
    method: str,
    level: str,
    metric: str,
    users: int,
    values: NDArray[np.float64],
) -> dict[str, Any]:
    """A figure that is of a seed as a whole and of no single user."""
    return _row(
        (method, kind, level, metric, "all", "all"),
        users=users,
        seeds=len(values),
        mean=float(values.mean()),
        sd=_spread(values),
        low=None,
        high=None,
    )


def _row(key: tuple[str, str, str, str, str, str], **figures: Any) -> dict[str, Any]:
    names = ("method", "kind", "level", "metric", "by", "bucket")
    return dict(zip(names, key, strict=True)) | figures


def _spread(values: NDArray[np.float64]) -> float | None:
    """Standard deviation of a sample; None of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None
