"""What decoders of one network give for what they cost, drawn."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sidiff.evaluation.comparison import largest_cutoff
from sidiff.evaluation.comparison_figures import GRID, INK, LINES, SHAPES
from sidiff.evaluation.headlines import Headline, headlines, label

ALMOST = 0.99
"""Share of the serial decoder's NDCG that a faster one should keep."""


LABEL_POINTS = 7.0

COSTS = {"denoiser_calls": 1.0, "users_per_second": -1.0}
"""What a decoder costs, one for each panel, and the sign that makes less better."""


def trade_off_figure(comparison: pl.DataFrame, methods: Mapping[str, str]) -> Figure:
    """NDCG against denoiser calls, and against users per second.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
        methods: of the searches to draw, by the names of their decoders.
    """
    lines = [
        line
        for line in headlines(comparison)
        if line.method in methods and line.users_per_second is not None
    ]
    figure = Figure(figsize=(13, 5.2), dpi=120)
    calls, speed = figure.subplots(1, 2, sharey=True)
    # Laid out by hand, so that labels know where the points will be.
    figure.subplots_adjust(left=0.075, right=0.98, top=0.9, bottom=0.19, wspace=0.06)
    speed.set_xscale("log")
    for axes, cost in zip((calls, speed), COSTS, strict=True):
        _draw(axes, lines, methods, cost)
    _widen(calls, speed, lines)
    calls.set_xlabel("denoiser calls per user")
    speed.set_xlabel("users per second (wall clock)")
    calls.set_ylabel(f"NDCG@{largest_cutoff(comparison)}, item level")
    serial = next((line for line in lines if line.method == "cpd"), None)
    if serial is not None:
        for axes in (calls, speed):
            axes.axhline(ALMOST * serial.ndcg.mean, color=INK, lw=0.8, ls=(0, (4, 3)))
    # The rate of two decoders is seldom the same, and names would cover each other:
    # there, only those worth choosing have one.
    _name(calls, lines, "denoiser_calls")
    _name(speed, pareto_front(lines, "users_per_second"), "users_per_second")
    handles, labels = calls.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower center",
        ncols=max(1, len(labels)),
        frameon=False,
        fontsize=8,
    )
    figure.suptitle(
        f"Decoders of one network; dashed: {ALMOST:.0%} of CPD; "
        "line: no other is both cheaper and better",
        x=0.01,
        ha="left",
        fontsize=11,
    )
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


def _draw(
    axes: Axes, lines: list[Headline], methods: Mapping[str, str], cost: str
) -> None:
    families = dict.fromkeys(methods[line.method] for line in lines)
    for place, family in enumerate(families):
        members = [line for line in lines if methods[line.method] == family]
        axes.plot(
            [getattr(line, cost) for line in members],
            [line.ndcg.mean for line in members],
            SHAPES[place % len(SHAPES)],
            color=LINES[place % len(LINES)],
            ms=6,
            label=label(family),
        )
    front = pareto_front(lines, cost)
    axes.plot(
        [getattr(line, cost) for line in front],
        [line.ndcg.mean for line in front],
        color=INK,
        lw=0.8,
        zorder=0,
    )
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    # Points, not bars: what lies between them matters, and not their distance to 0.
    means = [line.ndcg.mean for line in lines]
    room = 0.4 * (max(means, default=0.0) - min(means, default=0.0))
    axes.set_ylim(bottom=max(0.0, min(means, default=0.0) - room) if room else 0.0)
    axes.spines[["top", "right"]].set_visible(False)


def _widen(calls: Axes, speed: Axes, lines: list[Headline]) -> None:
    """Leave room for names on the right."""
    most = max((line.denoiser_calls or 1.0 for line in lines), default=1.0)
    calls.set_xlim(0, 1.3 * most)
    low, high = speed.get_xlim()
    speed.set_xlim(low, high * 3)


def _name(axes: Axes, lines: list[Headline], cost: str) -> None:
    """Write every name beside its point, below any name that is there already."""
    pixels = axes.figure.dpi / 72
    taken: list[tuple[float, float, float]] = []  # left, right, height
    for line in lines:
        point = (getattr(line, cost), line.ndcg.mean)
        x, height = axes.transData.transform(point)
        left = x + 6 * pixels
        right = left + 0.55 * LABEL_POINTS * pixels * len(line.label)
        step = 1.25 * LABEL_POINTS * pixels
        own = height
        while any(
            start < right and left < end and abs(other - own) < step
            for start, end, other in taken
        ):
            own -= step / 2
        taken.append((left, right, own))
        # A name that had to move says by a line whose it is.
        leader = {"arrowstyle": "-", "lw": 0.4, "color": INK, "relpos": (0.0, 0.5)}
        axes.annotate(
            line.label,
            point,
            xytext=(6, (own - height) / pixels),
            textcoords="offset points",
            va="center",
            fontsize=LABEL_POINTS,
            color=INK,
            arrowprops=leader if own < height else None,
        )
