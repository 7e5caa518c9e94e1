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


def trade_off_figure(comparison: pl.DataFrame, methods: Mapping[str, str]) -> Figure:
    """NDCG against denoiser calls, and against users per second.

    Args:
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
        methods: ``decoding.method`` of the decoders to draw, by their names.
    """
    lines = [
        line
        for line in headlines(comparison)
        if line.method in methods and line.users_per_second is not None
    ]
    figure = Figure(figsize=(12, 5), layout="constrained", dpi=120)
    calls, speed = figure.subplots(1, 2, sharey=True)
    _draw(calls, lines, methods, "denoiser_calls")
    _draw(speed, lines, methods, "users_per_second")
    calls.set_xlabel("denoiser calls per user")
    calls.set_xlim(left=0)
    speed.set_xlabel("users per second (wall clock)")
    speed.set_xscale("log")
    calls.set_ylabel(f"NDCG@{largest_cutoff(comparison)}, item level")
    serial = next((line for line in lines if line.method == "cpd"), None)
    if serial is not None:
        for axes in (calls, speed):
            axes.axhline(ALMOST * serial.ndcg.mean, color=INK, lw=0.8, ls=(0, (4, 3)))
        calls.annotate(
            f"{ALMOST:.0%} of CPD",
            (0, ALMOST * serial.ndcg.mean),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
    handles, labels = calls.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8
    )
    figure.suptitle(
        "Decoders of one network, nothing rescored", x=0.01, ha="left", fontsize=11
    )
    return figure


def _draw(
    axes: Axes, lines: list[Headline], methods: Mapping[str, str], cost: str
) -> None:
    families = dict.fromkeys(methods[line.method] for line in lines)
    for place, family in enumerate(families):
        members = [line for line in lines if methods[line.method] == family]
        values = [getattr(line, cost) for line in members]
        scores = [line.ndcg.mean for line in members]
        axes.plot(
            values,
            scores,
            SHAPES[place % len(SHAPES)],
            color=LINES[place % len(LINES)],
            ms=6,
            label=label(family),
        )
        for line, value, score in zip(members, values, scores, strict=True):
            axes.annotate(
                line.label,
                (value, score),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=7,
                color=INK,
            )
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
