"""The comparison, drawn: every method at both levels, and where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sidiff.evaluation.comparison import largest_cutoff
from sidiff.evaluation.headlines import (
    NONE,
    Headline,
    bucket_sizes,
    headlines,
    label,
    percent,
    rate_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

INK, GRID = "#33414f", "#d7dde3"
COLOURS = {"decoder": "#4878a8", "baseline": "#c8773a", "training": "#5a9367"}
MARKERS = {"decoder": "o", "baseline": "D", "training": "s"}
"""Kinds differ in shape as well as in colour."""

LINES = ("#4878a8", "#c8773a", "#5a9367", "#8d6a9f", "#b5495b", "#7a7a7a", "#c0a030")
SHAPES = "oDs^vPX"
ROW_INCHES = 0.34

FEW_USERS = 30
"""Below this number of users a whisker may leave the picture."""


def comparison_figure(comparison: pl.DataFrame) -> Figure:
    """Dots with whiskers of NDCG at both levels, best method on top, and the costs.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
    """
    lines = headlines(comparison)
    k, confidence = largest_cutoff(comparison), comparison["confidence"][0]
    size = (11, 1.7 + ROW_INCHES * len(lines))
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    item, sid, costs = figure.subplots(1, 3, sharey=True, width_ratios=(5, 5, 3))
    for axes, level in ((item, "item"), (sid, "sid")):
        _draw_level(axes, lines, level)
        axes.set_xlabel(f"NDCG@{k}", fontsize=9)
    item.set_title("Item level", loc="left", fontsize=11)
    sid.set_title("Semantic-ID level", loc="left", fontsize=11)
    item.set_yticks(range(len(lines)), [line.label for line in lines])
    item.set_ylim(len(lines) - 0.5, -0.5)
    _write_costs(costs, lines)
    handles = [
        Line2D([], [], ls="", marker=MARKERS[kind], color=COLOURS[kind], label=kind)
        for kind in dict.fromkeys(line.kind for line in lines)
    ]
    everybody = sum(line.everybody for line in lines)
    if everybody < len(lines):
        for axes in (item, sid):
            axes.axhline(everybody - 0.5, color=INK, lw=0.8, ls=(0, (4, 3)))
        handles.append(
            Line2D([], [], ls="", marker="o", mfc="w", color=INK, label="fewer users")
        )
    handles.append(
        Line2D(
            [],
            [],
            color=INK,
            lw=1.2,
            label=f"{percent(confidence)} interval over users",
        )
    )
    figure.legend(
        handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8
    )
    return figure


def breakdown_figure(comparison: pl.DataFrame) -> Figure:
    """Recall by popularity of the target and by history length, for the main methods.

    The main methods are the first decoder, which is the configured one, and all
    baselines; the other decoders differ from it by less than can be seen here.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
    """
    k, confidence = largest_cutoff(comparison), comparison["confidence"][0]
    decoders = comparison.filter(pl.col("kind") == "decoder")["method"].to_list()
    lines = headlines(comparison)
    methods = [
        line.method
        for line in lines
        if line.kind == "baseline" or line.method in decoders[:1]
    ]
    figure = Figure(figsize=(12, 4.2), layout="constrained", dpi=120)
    popularity, history = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    # Held-out targets stand apart, before those that happen not to occur.
    held_out = comparison.filter(pl.col("by") == "held_out")
    by_popularity = comparison.filter(pl.col("by") == "popularity")
    _draw_buckets(popularity, [held_out, by_popularity], methods)
    _draw_buckets(history, [comparison.filter(pl.col("by") == "history")], methods)
    popularity.set_xlabel("training occurrences of the target", fontsize=9)
    popularity.set_ylabel(f"Recall@{k}, item level", fontsize=9)
    popularity.set_title("By popularity of the target", loc="left", fontsize=11)
    history.set_xlabel("items in the history", fontsize=9)
    history.set_title("By length of the history", loc="left", fontsize=11)
    drawn = comparison.filter(
        pl.col("by").is_in(["popularity", "history", "held_out"]),
        pl.col("method").is_in(methods),
    )
    popularity.set_ylim(0, _top(drawn))
    handles, labels = popularity.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(methods),
        frameon=False,
        fontsize=8,
        title=f"whiskers: {percent(confidence)} bootstrap interval over users",
        title_fontsize=8,
    )
    return figure


def _draw_level(axes: Axes, lines: Sequence[Headline], level: str) -> None:
    for place, line in enumerate(lines):
        estimate = line.ndcg if level == "item" else line.sid_ndcg
        axes.plot([estimate.low, estimate.high], [place, place], color=INK, lw=1.2)
        axes.plot(
            estimate.mean,
            place,
            MARKERS[line.kind],
            color=COLOURS[line.kind],
            mfc=None if line.everybody else "w",
            ms=5,
        )
        axes.annotate(
            f"{estimate.mean:.4f}",
            (estimate.high, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )
    axes.set_xlim(left=0)
    # Room for the value behind the longest whisker.
    axes.set_xlim(right=axes.get_xlim()[1] * 1.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="y", length=0, labelsize=9)


def _write_costs(axes: Axes, lines: Sequence[Headline]) -> None:
    """Users, denoiser calls and rate as a table in line with the dots."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    columns = (
        (0.3, "users", [f"{line.users:,}" for line in lines]),
        (
            0.65,
            "calls per\nbatch",
            [
                f"{line.denoiser_calls:.3g}" if line.denoiser_calls else NONE
                for line in lines
            ],
        ),
        (
            1.0,
            "users per\nsecond",
            [rate_text(line.users_per_second) for line in lines],
        ),
    )
    for right, title, texts in columns:
        axes.annotate(
            title,
            (right, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=INK,
        )
        for place, text in enumerate(texts):
            axes.text(
                right,
                place,
                text,
                ha="right",
                va="center",
                fontsize=8,
                color=INK,
            )


def _top(drawn: pl.DataFrame) -> float:
    """Room for every dot, and for whiskers of buckets that are not tiny.

    One whisker of ten users would press all others against the axis; it leaves the
    picture instead.
    """
    sure = drawn.filter(pl.col("users") >= FEW_USERS)["high"]
    highest = max(float(value) for value in (*drawn["mean"], *sure))
    return 1.08 * highest if highest else 1.0


def _draw_buckets(
    axes: Axes, parts: Sequence[pl.DataFrame], methods: Sequence[str]
) -> None:
    """Dots of all methods side by side over each bucket."""
    first, ticks = 0, []
    for part in parts:
        sizes = bucket_sizes(part)
        places = {bucket: first + index for index, bucket in enumerate(sizes)}
        for index, method in enumerate(methods):
            mine = part.filter(pl.col("method") == method)
            shift = (index - (len(methods) - 1) / 2) * 0.7 / len(methods)
            x = np.array([places[bucket] + shift for bucket in mine["bucket"]])
            mean, low, high = (mine[n].to_numpy() for n in ("mean", "low", "high"))
            colour = LINES[index % len(LINES)]
            axes.plot([x, x], [low, high], color=colour, lw=1.0)
            axes.plot(
                x,
                mean,
                SHAPES[index % len(SHAPES)],
                color=colour,
                ms=5,
                ls="",
                clip_on=False,
                label=label(method) if part is parts[-1] else "_",
            )
        ticks += [f"{bucket}\n{size:,} users" for bucket, size in sizes.items()]
        first += len(sizes)
    axes.set_xticks(range(first), ticks)
    axes.set_xlim(-0.6, first - 0.4)
    for border in range(1, first):
        axes.axvline(border - 0.5, color=GRID, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="x", length=0, pad=7)
