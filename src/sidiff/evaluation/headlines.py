"""The comparison in one line per method, and as a page of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import polars as pl

from sidiff.evaluation.comparison import largest_cutoff

NAMES = {
    "items": "item softmax",
    "cpd": "CPD",
    "markov": "Markov chain",
    "sasrec": "SASRec",
    "sasrec_markov": "SASRec and Markov chain",
}
"""Methods whose name on paper is not that of the parameter with spaces."""

NONE = "\u2013"
"""The text of an empty cell."""

_MILLION, _TENS = 1e6, 10.0

_OF_A_SEARCH = (
    "denoiser_calls",
    "distinct_states",
    "valid_share",
    "completed_share",
)
"""Costs of methods that decode semantic IDs; others have none of them."""


@dataclass(frozen=True)
class Estimate:
    """A mean over users with its bootstrap interval."""

    mean: float
    low: float
    high: float
    users: int

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Headline:
    """One method at the largest cutoff, over all its users.

    Attributes:
        method: its parameter name.
        kind: decoder, baseline or training (a variant of it).
        users: number of users.
        seeds: number of seeds.
        recall: at item level.
        ndcg: at item level.
        sid_recall: at SID level.
        sid_ndcg: at SID level.
        cutoff: the k of the figures.
        confidence: level of their intervals.
        everybody: whether no other method covers more users.
        users_per_second: wall-clock rate, None where unknown.
        denoiser_calls: decoder passes made for a user, None where unknown.
    """

    method: str
    kind: str
    users: int
    seeds: int
    recall: Estimate
    ndcg: Estimate
    sid_recall: Estimate
    sid_ndcg: Estimate
    cutoff: int
    confidence: float
    everybody: bool
    users_per_second: float | None
    denoiser_calls: float | None

    @property
    def label(self) -> str:
        """The method as a person reads it."""
        return label(self.method)


def label(method: str) -> str:
    """A method's name on paper: ``one_pass`` is ``one pass``."""
    return NAMES.get(method, method.replace("_", " "))


def headlines(comparison: pl.DataFrame) -> list[Headline]:
    """One line per method, best item-level NDCG first.

    Methods that cover fewer users follow those that cover all: by chance theirs may be
    easier, and a common order would say otherwise.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
    """
    k, most = largest_cutoff(comparison), comparison["users"].max()
    lines = []
    for (method, kind), frame in (
        comparison.filter(pl.col("by") == "all")
        .partition_by("method", "kind", as_dict=True, maintain_order=True)
        .items()
    ):
        rows = {
            (row["level"], row["metric"]): row for row in frame.iter_rows(named=True)
        }
        figures = {
            key: Estimate(*(row[name] for name in ("mean", "low", "high", "users")))
            for key, row in rows.items()
            if key[0] in ("item", "sid")
        }
        costs = {
            name: row["mean"] for (level, name), row in rows.items() if level == "cost"
        }
        lines.append(
            Headline(
                method=method,
                kind=kind,
                users=figures["item", f"ndcg_at_{k}"].users,
                seeds=rows["item", f"ndcg_at_{k}"]["seeds"],
                recall=figures["item", f"recall_at_{k}"],
                ndcg=figures["item", f"ndcg_at_{k}"],
                sid_recall=figures["sid", f"recall_at_{k}"],
                sid_ndcg=figures["sid", f"ndcg_at_{k}"],
                cutoff=k,
                confidence=frame["confidence"][0],
                everybody=rows["item", f"ndcg_at_{k}"]["users"] == most,
                users_per_second=costs.get("users_per_second"),
                denoiser_calls=costs.get("denoiser_calls"),
            )
        )
    return sorted(lines, key=lambda line: (not line.everybody, -line.ndcg.mean))


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
    """The comparison as a page of Markdown.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
        dataset: name for the title.
    """
    lines = headlines(comparison)
    confidence = comparison["confidence"][0]
    k = largest_cutoff(comparison)
    parts = [
        f"# Methods compared on {dataset}",
        "Test split, full ranking of the catalogue. Each figure is the mean over users"
        " of the mean over seeds; *sd* is that over seeds of the mean over users (of"
        " a single seed there is none). Brackets are"
        f" {percent(confidence)} bootstrap intervals over users, from the same"
        " resamples for all methods; where nobody is hit they have no width, which is"
        " no certainty. Methods with fewer users stand last and compare with the others"
        " by the differences only.",
        "## Item level",
        _level(comparison, lines, "item"),
        "## Semantic-ID level",
        _level(comparison, lines, "sid"),
    ]
    differences = comparison["metric"].str.extract(r"_minus_(.+)$").drop_nulls()
    for reference in differences.unique(maintain_order=True):
        metric = f"ndcg_at_{k}_minus_{reference}"
        parts += [
            f"## Difference to {label(reference)}",
            f"Item-level NDCG@{k} less that of {label(reference)}, on the users that"
            " both have ranked.",
            _differences(comparison.filter(pl.col("metric") == metric), lines),
        ]
    titles = {
        "popularity": "by training occurrences of the target",
        "history": "by items in the history",
        "held_out": "for items held out of training",
    }
    for by, title in titles.items():
        part = comparison.filter(pl.col("by") == by)
        if len(part):
            parts += [f"## Recall@{k} {title}", _breakdown(part, lines)]
    parts += [
        "## Lists and costs",
        f"*coverage*: share of the catalogue in somebody's first {k}; *popular*: share"
        f" of the first {k} that is among the 1 % most popular items; both depend on"
        " the number of users. *calls*: denoiser passes made for a user.",
        _lists_and_costs(comparison, lines, k),
    ]
    return "\n\n".join(parts) + "\n"


def bucket_sizes(part: pl.DataFrame) -> dict[str, int]:
    """Buckets in ascending order with the most users that a method has in each.

    Args:
        part: the rows of one ``by`` of the comparison.
    """
    sizes = (
        part.group_by("bucket")
        .agg(pl.col("users").max())
        .sort(pl.col("bucket").str.extract(r"^(\d+)").cast(pl.Int64))
    )
    return dict(zip(sizes["bucket"], sizes["users"], strict=True))


def _level(comparison: pl.DataFrame, lines: Sequence[Headline], level: str) -> str:
    """Every cutoff of one level."""
    part = comparison.filter(
        (pl.col("level") == level)
        & (pl.col("by") == "all")
        & ~pl.col("metric").str.contains("_minus_")
    )
    names = part["metric"].unique(maintain_order=True).to_list()
    found = {(row["method"], row["metric"]): row for row in part.iter_rows(named=True)}

    def cells(line: Headline) -> Iterator[str]:
        yield from (line.label, f"{line.users:,}", str(line.seeds))
        for name in names:
            row = found[line.method, name]
            yield _with_interval(row["mean"], row["low"], row["high"], "{:.4f}")
            yield NONE if row["sd"] is None else f"{row['sd']:.4f}"

    titles = chain.from_iterable((metric_title(name), "sd") for name in names)
    return _table(["method", "users", "seeds", *titles], map(cells, lines))


def _differences(part: pl.DataFrame, lines: Sequence[Headline]) -> str:
    found = {row["method"]: row for row in part.iter_rows(named=True)}
    rows = [found[line.method] for line in lines if line.method in found]
    return _table(
        ["method", "users of both", "difference"],
        (
            [
                label(row["method"]),
                f"{row['users']:,}",
                _with_interval(row["mean"], row["low"], row["high"], "{:+.4f}"),
            ]
            for row in rows
        ),
    )


def _breakdown(part: pl.DataFrame, lines: Sequence[Headline]) -> str:
    """One column per bucket; where a method has fewer users, their number."""
    sizes = bucket_sizes(part)
    found = {(row["method"], row["bucket"]): row for row in part.iter_rows(named=True)}

    def cell(method: str, bucket: str) -> str:
        row = found.get((method, bucket))
        if row is None:
            return NONE
        text = _with_interval(row["mean"], row["low"], row["high"], "{:.4f}")
        fewer = row["users"] < sizes[bucket]
        return f"{text} ({row['users']:,})" if fewer else text

    return _table(
        ["method", *(f"{name} ({size:,} users)" for name, size in sizes.items())],
        ([line.label, *(cell(line.method, name) for name in sizes)] for line in lines),
    )


def _lists_and_costs(
    comparison: pl.DataFrame, lines: Sequence[Headline], k: int
) -> str:
    columns: dict[tuple[str, str], tuple[str, Callable[[float], str]]] = {
        ("lists", f"coverage_at_{k}"): ("coverage", partial(percent, digits=1)),
        ("lists", f"popular_share_at_{k}"): ("popular", partial(percent, digits=1)),
        ("cost", "denoiser_calls"): ("calls", "{:.3g}".format),
        ("cost", "users_per_second"): ("users per second", rate_text),
        ("cost", "distinct_states"): ("distinct states", partial(percent, digits=1)),
        ("cost", "valid_share"): ("valid SIDs", partial(percent, digits=1)),
        ("cost", "completed_share"): ("lists completed", partial(percent, digits=1)),
    }
    part = comparison.filter(pl.col("level").is_in(["lists", "cost"]))
    found = {
        (row["method"], row["level"], row["metric"]): row["mean"]
        for row in part.iter_rows(named=True)
    }

    def cells(line: Headline) -> Iterator[str]:
        yield from (line.label, f"{line.users:,}")
        for key, (_, write) in columns.items():
            value = found.get((line.method, *key))
            # Without calls there is nothing to count in their states either.
            idle = not line.denoiser_calls and key[1] in _OF_A_SEARCH
            yield NONE if value is None or idle else write(value)

    titles = [title for title, _ in columns.values()]
    return _table(["method", "users", *titles], map(cells, lines))


def metric_title(name: str) -> str:
    """``ndcg_at_10`` as NDCG@10."""
    name = name.replace("_at_", "@")
    return name.replace("recall", "Recall").replace("ndcg", "NDCG")


def _with_interval(
    mean: float, low: float | None, high: float | None, form: str
) -> str:
    text = form.format(mean)
    if low is None or high is None:
        return text
    return f"{text} [{form.format(low)}, {form.format(high)}]"


def _table(titles: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown: names to the left, figures to the right."""
    rule = ["---", *["---:"] * (len(titles) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows))
