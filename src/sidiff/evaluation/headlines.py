"""The comparison in one line per method, and as a page of Markdown.

``comparison`` is the result of ``sidiff.evaluation.comparison.compare``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import polars as pl

NAMES = {
    "items": "posterior",
    "cpd": "CPD",
    "markov": "Markov chain",
    "sasrec": "SASRec",
    "sasrec_markov": "SASRec and Markov chain",
}
"""Printed names of methods, where they differ from the parameter with spaces."""

NONE = "\u2013"
"""The text of an empty cell."""

Rows = Mapping[tuple[str, ...], dict[str, Any]]
"""Rows of the comparison by method, level, metric, by and bucket."""

_MILLION, _TENS = 1e6, 10.0
_OF_A_SEARCH = ("denoiser_calls", "distinct_states", "valid_share", "completed_share")
"""Costs of methods that decode semantic IDs."""


@dataclass(frozen=True)
class Estimate:
    """A mean over users with its bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the mean with its interval: 0.2893 [0.2758, 0.3030]."""
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Headline:
    """One method at the largest cutoff, over all its users.

    Attributes:
        method: its parameter name.
        kind: decoder, baseline or training (a variant of it).
        recall: at item level, as ``ndcg``.
        cutoff: the k of the figures.
        confidence: level of their intervals.
        everybody: whether no other method covers more users.
        users_per_second: wall-clock rate, None where unknown.
        denoiser_calls: denoiser passes per user, None where unknown.
    """

    method: str
    kind: str
    users: int
    seeds: int
    recall: Estimate
    ndcg: Estimate
    sid_ndcg: Estimate
    cutoff: int
    confidence: float
    everybody: bool
    users_per_second: float | None
    denoiser_calls: float | None

    @property
    def label(self) -> str:
        """The printed name of the method."""
        return label(self.method)


def label(method: str) -> str:
    """Printed name of a method: ``one_pass`` is ``one pass``."""
    return NAMES.get(method, method.replace("_", " "))


def headlines(comparison: pl.DataFrame) -> list[Headline]:
    """One line per method, best item-level NDCG first.

    Methods that cover fewer users follow those that cover all: their users may be
    easier, so that one order for all would mislead.
    """
    cutoffs = comparison["metric"].str.extract(r"^recall_at_(\d+)$").cast(pl.Int64)
    k: int = cutoffs.drop_nulls().max()  # type: ignore[assignment]
    rows, most = _rows(comparison), comparison["users"].max()
    methods = comparison.select("method", "kind").unique(maintain_order=True)
    lines = [
        _headline(method, kind, rows, k, most) for method, kind in methods.iter_rows()
    ]
    return sorted(lines, key=lambda line: (not line.everybody, -line.ndcg.mean))


def _headline(method: str, kind: str, rows: Rows, k: int, most: Any) -> Headline:
    """The headline of one method; ``most`` is the largest number of users."""

    def estimate(level: str, metric: str) -> Estimate:
        row = rows[method, level, f"{metric}_at_{k}", "all", "all"]
        return Estimate(row["mean"], row["low"], row["high"])

    def cost(name: str) -> float | None:
        row = rows.get((method, "cost", name, "all", "all"))
        return None if row is None else row["mean"]

    row = rows[method, "item", f"ndcg_at_{k}", "all", "all"]
    return Headline(
        method=method,
        kind=kind,
        users=row["users"],
        seeds=row["seeds"],
        recall=estimate("item", "recall"),
        ndcg=estimate("item", "ndcg"),
        sid_ndcg=estimate("sid", "ndcg"),
        cutoff=k,
        confidence=row["confidence"],
        everybody=row["users"] == most,
        users_per_second=cost("users_per_second"),
        denoiser_calls=cost("denoiser_calls"),
    )


def headline_rows(lines: Sequence[Headline]) -> list[list[str]]:
    """The table of methods for screen, page and documentation, titles first."""
    k = lines[0].cutoff
    return [
        ["method", "users", f"R@{k}", f"N@{k}", f"SID N@{k}", "users/s"],
        *(
            [
                line.label,
                f"{line.users:,}",
                f"{line.recall.mean:.4f}",
                str(line.ndcg),
                f"{line.sid_ndcg.mean:.4f}",
                rate_text(line.users_per_second),
            ]
            for line in lines
        ),
    ]


def _rows(comparison: pl.DataFrame) -> Rows:
    key = itemgetter("method", "level", "metric", "by", "bucket")
    return {key(row): row for row in comparison.iter_rows(named=True)}


def rate_text(rate: float | None) -> str:
    """A number per second in few characters: 3.1, 310, 41,000, 1.2 M."""
    if rate is None:
        return NONE
    if rate >= _MILLION:
        return f"{rate / _MILLION:,.1f} M"
    return f"{rate:,.0f}" if rate >= _TENS else f"{rate:.1f}"


def percent(share: float, digits: int = 0) -> str:
    """0.95 as 95 %."""
    return f"{100 * share:.{digits}f} %"


def comparison_table(comparison: pl.DataFrame, dataset: str) -> str:
    """The comparison as a page of Markdown; ``dataset`` is for the title."""
    lines, rows = headlines(comparison), _rows(comparison)
    k = lines[0].cutoff
    metrics = comparison["metric"].unique(maintain_order=True).to_list()
    at_k = [name for name in metrics if re.fullmatch(r"(recall|ndcg)_at_\d+", name)]
    parts = [
        f"# Methods compared on {dataset}",
        "Test split, full ranking of the catalogue. Each figure is the mean over users"
        " of the mean over seeds; *sd* is that over seeds of the mean over users (of"
        " a single seed there is none). Brackets are"
        f" {percent(lines[0].confidence)} bootstrap intervals over users, from"
        " the same resamples for all methods; without any hit they have no width, which"
        " is no certainty. Methods with fewer users stand last and compare with the"
        " others by the differences only.",
        "## Item level",
        _level(rows, lines, "item", at_k),
        "## Semantic-ID level",
        _level(rows, lines, "sid", at_k),
    ]
    beginning = f"ndcg_at_{k}_minus_"
    for metric in metrics:
        if metric.startswith(beginning):
            reference = label(metric.removeprefix(beginning))
            parts += [
                f"## Difference to {reference}",
                f"Item-level NDCG@{k} less that of {reference}, on the users that"
                " both have ranked.",
                _differences(rows, lines, metric),
            ]
    titles = {
        "popularity": "by training occurrences of the target",
        "history": "by items in the history",
        "held_out": "for items held out of training",
    }
    for by, title in titles.items():
        part = comparison.filter(pl.col("by") == by)
        if len(part):
            buckets = _breakdown(rows, lines, part, f"recall_at_{k}")
            parts += [f"## Recall@{k} {title}", buckets]
    parts += [
        "## Lists and costs",
        f"*coverage*: share of the catalogue in the first {k} of any list; *popular*:"
        f" share of the first {k} that is among the 1 % most popular items; both depend"
        " on the number of users. *calls*: denoiser passes made for a user.",
        _lists_and_costs(rows, lines, k),
    ]
    return "\n\n".join(parts) + "\n"


def _level(
    rows: Rows, lines: Sequence[Headline], level: str, metrics: Sequence[str]
) -> str:
    """Every metric of one level."""

    def cells(line: Headline) -> Iterator[str]:
        yield from (line.label, f"{line.users:,}", str(line.seeds))
        for metric in metrics:
            row = rows[line.method, level, metric, "all", "all"]
            yield _with_interval(row)
            yield NONE if row["sd"] is None else f"{row['sd']:.4f}"

    titles = chain.from_iterable((metric_title(name), "sd") for name in metrics)
    return markdown_table(["method", "users", "seeds", *titles], map(cells, lines))


def _differences(rows: Rows, lines: Sequence[Headline], metric: str) -> str:
    cells = [
        [line.label, f"{row['users']:,}", _with_interval(row, "{:+.4f}")]
        for line in lines
        if (row := rows.get((line.method, "item", metric, "all", "all")))
    ]
    return markdown_table(["method", "users of both", "difference"], cells)


def _breakdown(
    rows: Rows, lines: Sequence[Headline], part: pl.DataFrame, metric: str
) -> str:
    """One column per bucket; a method with fewer users shows their number."""
    by = part["by"][0]
    buckets = (
        part.group_by("bucket")
        .agg(pl.col("users").max())
        .sort(pl.col("bucket").str.extract(r"^(\d+)").cast(pl.Int64))
    )
    sizes = dict(buckets.iter_rows())

    def cell(method: str, bucket: str) -> str:
        row = rows.get((method, "item", metric, by, bucket))
        if row is None:
            return NONE
        fewer = row["users"] < sizes[bucket]
        return _with_interval(row) + (f" ({row['users']:,})" if fewer else "")

    return markdown_table(
        ["method", *(f"{name} ({size:,} users)" for name, size in sizes.items())],
        ([line.label, *(cell(line.method, name) for name in sizes)] for line in lines),
    )


def _lists_and_costs(rows: Rows, lines: Sequence[Headline], k: int) -> str:
    share = partial(percent, digits=1)
    columns: dict[tuple[str, str], tuple[str, Callable[[float], str]]] = {
        ("lists", f"coverage_at_{k}"): ("coverage", share),
        ("lists", f"popular_share_at_{k}"): ("popular", share),
        ("cost", "denoiser_calls"): ("calls", "{:.3g}".format),
        ("cost", "users_per_second"): ("users per second", rate_text),
        ("cost", "distinct_states"): ("distinct states", share),
        ("cost", "valid_share"): ("valid SIDs", share),
        ("cost", "completed_share"): ("lists completed", share),
    }

    def cells(line: Headline) -> Iterator[str]:
        yield from (line.label, f"{line.users:,}")
        for (level, metric), (_, write) in columns.items():
            row = rows.get((line.method, level, metric, "all", "all"))
            no_search = not line.denoiser_calls and metric in _OF_A_SEARCH
            yield NONE if row is None or no_search else write(row["mean"])

    titles = [title for title, _ in columns.values()]
    return markdown_table(["method", "users", *titles], map(cells, lines))


def metric_title(name: str) -> str:
    """``ndcg_at_10`` as NDCG@10."""
    name = name.replace("_at_", "@")
    return name.replace("recall", "Recall").replace("ndcg", "NDCG")


def _with_interval(row: dict[str, Any], form: str = "{:.4f}") -> str:
    mean, low, high = (form.format(row[name]) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def markdown_table(titles: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown: names to the left, figures to the right."""
    rule = ["---", *["---:"] * (len(titles) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows))
