"""The figures of docs/concepts, drawn from docs/data/sample.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sidiff.evaluation.figures import comparison_figure
from sidiff.report.figures import walk_figure
from sidiff.report.walk import WalkStep

from .store import IMAGES, read, stored_lines

INK, BLUE = "#33414f", "#3d6fa5"
STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "sidiff",
}
LISTS = ("as_configured", "items", "markov", "cpd")


def draw() -> list[Path]:
    """Draw all figures anew and return their paths."""
    kept = read("sample")
    lines = stored_lines(kept)
    figures = {
        "code_use": code_use(kept),
        "walk": walk(kept),
        "lists": comparison_figure([one for one in lines if one.method in LISTS]),
        "intervals": comparison_figure(lines),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(IMAGES / f"{name}.svg")
        with mpl.rc_context(STYLE):
            # No date, so that equal numbers make equal files.
            figure.savefig(paths[-1], metadata={"Date": None})
    return paths


def code_use(kept: dict[str, Any]) -> Figure:
    """How many items have each code, digit by digit."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.9), layout="constrained")
        panels = figure.subplots(1, len(kept["code_use"]), sharey=True)
        for number, (axes, counts) in enumerate(
            zip(panels, kept["code_use"], strict=True), 1
        ):
            axes.bar(range(len(counts)), counts, color=BLUE, width=0.85)
            axes.set_title(f"digit {number}", loc="left", fontsize=9)
            axes.set_xlabel("code")
        panels[0].set_ylabel("items")
    return figure


def walk(kept: dict[str, Any]) -> Figure:
    """The calls of the stored walk."""
    steps = [
        WalkStep(
            np.array(step["filled"]),
            np.array(step["probabilities"]),
            step["digit"],
            step["code"],
        )
        for step in kept["walk"]["steps"]
    ]
    return walk_figure(steps)
