"""Figures of the comparison: methods at both levels, and decoders by their cost.

``comparison`` is the result of ``sidiff.evaluation.comparison.compare``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from plotly import express as px
from plotly import graph_objects as go

from sidiff.evaluation.headlines import Headline, headlines, label, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

TITLES = {
    "denoiser_calls": "denoiser calls per user",
    "users_per_second": "users per second (wall clock)",
}
"""Costs of a decoder, one per panel."""

INK, GRID = "#33414f", "#d7dde3"
COLOURS = {"decoder": "#4878a8", "baseline": "#c8773a", "training": "#5a9367"}
MARKERS = {"decoder": "o", "baseline": "D", "training": "s"}
"""Kinds differ in shape as well as in colour."""


def comparison_figure(lines: Sequence[Headline]) -> Figure:
    """NDCG at both levels with intervals, best method on top."""
    size = (9, 1.7 + 0.34 * len(lines))
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    item, sid = figure.subplots(1, 2, sharey=True)
    for axes, level, title in ((item, "item", "Item"), (sid, "sid", "Semantic-ID")):
        _draw_level(axes, lines, level)
        axes.set_xlabel(f"NDCG@{lines[0].cutoff}", fontsize=9)
        axes.set_title(f"{title} level", loc="left", fontsize=11)
    item.set_yticks(range(len(lines)), [line.label for line in lines])
    item.set_ylim(len(lines) - 0.5, -0.5)
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
    interval = f"{percent(lines[0].confidence)} interval over users"
    handles.append(Line2D([], [], color=INK, lw=1.2, label=interval))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8
    )
    return figure


def _draw_level(axes: Axes, lines: Sequence[Headline], level: str) -> None:
    """A dot and its interval per method."""
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
        text, at = f"{estimate.mean:.4f}", (estimate.high, place)
        axes.annotate(
            text,
            at,
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


def trade_off_figure(comparison: pl.DataFrame, methods: Mapping[str, str]) -> go.Figure:
    """NDCG against denoiser calls, and against users per second.

    Interactive: points have labels, and a family of decoders can be hidden. The line is
    the Pareto front. ``methods`` has the family of each decoder to draw, by its name.
    """
    lines = [
        line
        for line in headlines(comparison)
        if line.method in methods and line.users_per_second is not None
    ]
    if not lines:
        return go.Figure()
    points = [
        {
            "cost": title,
            "value": getattr(line, cost),
            "ndcg": line.ndcg.mean,
            "family": label(methods[line.method]),
            "decoder": line.label,
        }
        for cost, title in TITLES.items()
        for line in lines
    ]
    axis = f"NDCG@{lines[0].cutoff}, item level"
    figure = px.scatter(
        pl.DataFrame(points),
        x="value",
        y="ndcg",
        color="family",
        facet_col="cost",
        hover_name="decoder",
        labels={"ndcg": axis, "value": "cost", "family": "", "cost": ""},
        template="plotly_white",
    )
    for column, cost in enumerate(TITLES, 1):
        front = pareto_front(lines, cost)
        figure.add_scatter(
            x=[getattr(line, cost) for line in front],
            y=[line.ndcg.mean for line in front],
            mode="lines",
            line={"width": 1, "color": "gray"},
            name="not dominated",
            hoverinfo="skip",
            showlegend=column == 1,
            row=1,
            col=column,
        )
    figure.for_each_annotation(lambda note: note.update(text=note.text.strip("=")))
    figure.update_xaxes(matches=None)
    figure.update_xaxes(rangemode="tozero", col=1)
    figure.update_xaxes(type="log", col=2)
    return figure


def pareto_front(lines: list[Headline], cost: str) -> list[Headline]:
    """The decoders for which no cheaper one is as good, the cheapest first."""
    sign = -1.0 if cost == "users_per_second" else 1.0
    ordered = sorted(
        lines, key=lambda line: (sign * getattr(line, cost), -line.ndcg.mean)
    )
    front: list[Headline] = []
    for line in ordered:
        if not front or line.ndcg.mean > front[-1].ndcg.mean:
            front.append(line)
    return front
