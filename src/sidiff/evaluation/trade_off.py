"""The trade-off of decoders of one network: quality against cost, drawn."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from plotly import graph_objects as go
from plotly.colors import DEFAULT_PLOTLY_COLORS as COLOURS
from plotly.subplots import make_subplots

from sidiff.evaluation.comparison import largest_cutoff
from sidiff.evaluation.headlines import Headline, headlines, label

ALMOST = 0.99
"""Share of the serial decoder's NDCG that a faster one should keep."""

COSTS = {"denoiser_calls": 1.0, "users_per_second": -1.0}
"""Costs of a decoder, one for each panel, and the sign that makes less better."""

TITLES = ("denoiser calls per user", "users per second (wall clock)")


def trade_off_figure(comparison: pl.DataFrame, methods: Mapping[str, str]) -> go.Figure:
    """NDCG against denoiser calls, and against users per second.

    Interactive: a point says whose it is, and a family can be switched off. The line
    joins the decoders than which no other is both cheaper and better; the dashed one
    is ``ALMOST`` of CPD.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
        methods: of the searches to draw, by the names of their decoders.
    """
    lines = [
        line
        for line in headlines(comparison)
        if line.method in methods and line.users_per_second is not None
    ]
    figure = make_subplots(cols=2, shared_yaxes=True)
    serial = next((line for line in lines if line.method == "cpd"), None)
    for place, (cost, title) in enumerate(zip(COSTS, TITLES, strict=True), 1):
        for trace in _traces(lines, methods, cost, legend=place == 1):
            figure.add_trace(trace, row=1, col=place)
        figure.update_xaxes(title=title, row=1, col=place)
        if serial is not None:
            level = ALMOST * serial.ndcg.mean
            figure.add_hline(level, line_dash="dash", line_width=1, row=1, col=place)
    figure.update_xaxes(rangemode="tozero", row=1, col=1)
    figure.update_xaxes(type="log", row=1, col=2)
    figure.update_yaxes(
        title=f"NDCG@{largest_cutoff(comparison)}, item level", row=1, col=1
    )
    figure.update_layout(template="plotly_white")
    return figure


def pareto_front(lines: list[Headline], cost: str) -> list[Headline]:
    """The decoders than which no other is as good for less, the cheapest first."""
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
                marker={"size": 9, "color": COLOURS[place % len(COLOURS)]},
                text=[line.label for line in members],
                hovertemplate="%{text}<br>%{x:.4g}, NDCG %{y:.4f}",
                name=label(family),
                legendgroup=family,
                showlegend=legend,
            )
        )
    return traces
