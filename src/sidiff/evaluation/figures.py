"""Figures of the comparison: methods at both levels, and decoders by their cost.

``comparison`` is what ``sidiff.evaluation.comparison.compare`` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from plotly import graph_objects as go
from plotly.colors import DEFAULT_PLOTLY_COLORS as PALETTE
from plotly.subplots import make_subplots

from sidiff.evaluation.comparison import largest_cutoff
from sidiff.evaluation.headlines import Headline, headlines, label, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

COSTS = {"denoiser_calls": 1.0, "users_per_second": -1.0}
"""Costs of a decoder, one per panel, with the sign by which less is better."""

TITLES = ("denoiser calls per user", "users per second (wall clock)")

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
    the Pareto front.

    Args:
        comparison: of the decoders.
        methods: family of each decoder to draw, by its name.
    """
    lines = [
        line
        for line in headlines(comparison)
        if line.method in methods and line.users_per_second is not None
    ]
    figure = make_subplots(cols=2, shared_yaxes=True)
    for place, (cost, title) in enumerate(zip(COSTS, TITLES, strict=True), 1):
        for trace in _traces(lines, methods, cost, legend=place == 1):
            figure.add_trace(trace, row=1, col=place)
        figure.update_xaxes(title=title, row=1, col=place)
    figure.update_xaxes(rangemode="tozero", row=1, col=1)
    figure.update_xaxes(type="log", row=1, col=2)
    figure.update_yaxes(
        title=f"NDCG@{largest_cutoff(comparison)}, item level", row=1, col=1
    )
    figure.update_layout(template="plotly_white")
    return figure


def pareto_front(lines: list[Headline], cost: str) -> list[Headline]:
    """The decoders for which no cheaper one is as good, the cheapest first."""
    ordered = sorted(
        lines, key=lambda line: (COSTS[cost] * getattr(line, cost), -line.ndcg.mean)
    )
    front: list[Headline] = []
    for line in ordered:
        if not front or line.ndcg.mean > front[-1].ndcg.mean:
            front.append(line)
    return front


def _traces(
    lines: list[Headline], methods: Mapping[str, str], cost: str, *, legend: bool
) -> list[go.Scatter]:
    """The front as a line, then the points of each family of decoders."""
    front = pareto_front(lines, cost)
    traces = [
        go.Scatter(
            x=[getattr(line, cost) for line in front],
            y=[line.ndcg.mean for line in front],
            mode="lines",
            line={"width": 1, "color": "gray"},
            name="not dominated",
            hoverinfo="skip",
            showlegend=legend,
        )
    ]
    families = dict.fromkeys(methods[line.method] for line in lines)
    for place, family in enumerate(families):
        members = [line for line in lines if methods[line.method] == family]
        traces.append(
            go.Scatter(
                x=[getattr(line, cost) for line in members],
                y=[line.ndcg.mean for line in members],
                mode="markers",
                marker={"size": 9, "color": PALETTE[place % len(PALETTE)]},
                text=[line.label for line in members],
                hovertemplate="%{text}<br>%{x:.4g}, NDCG %{y:.4f}",
                name=label(family),
                legendgroup=family,
                showlegend=legend,
            )
        )
    return traces
