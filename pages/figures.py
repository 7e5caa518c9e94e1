"""The figures of docs/concepts, drawn from docs/data/sample.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .store import IMAGES, read

INK, BLUE, ORANGE = "#33414f", "#3d6fa5", "#c8773a"
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
    figures = {
        "code_use": code_use(kept),
        "walk": walk(kept),
        "lists": intervals(kept, LISTS),
        "intervals": intervals(kept, None),
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
    """Probabilities of all codes at every call; framed is what is filled in."""
    steps = kept["walk"]["steps"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.1), layout="constrained")
        panels = figure.subplots(1, len(steps), sharey=True)
        for number, (axes, step) in enumerate(zip(panels, steps, strict=True), 1):
            shades = np.array(step["probabilities"])
            axes.imshow(shades, cmap="Blues", vmin=0, vmax=0.6, aspect="auto")
            for digit, code in enumerate(step["filled"]):
                if code >= 0:
                    axes.text(code, digit, str(code), ha="center", va="center")
            axes.add_patch(
                Rectangle(
                    (step["code"] - 0.5, step["digit"] - 0.5),
                    *(1, 1),
                    fill=False,
                    edgecolor=ORANGE,
                    linewidth=2,
                )
            )
            axes.set_title(f"call {number}", loc="left", fontsize=9)
            axes.set_xlabel("code")
            axes.set_yticks(
                range(len(shades)), [f"digit {n + 1}" for n in range(len(shades))]
            )
    return figure


def intervals(kept: dict[str, Any], methods: tuple[str, ...] | None) -> Figure:
    """Item-level NDCG with its interval, best on top; users in brackets."""
    lines = [
        line
        for line in kept["headlines"]
        if methods is None or line["method"] in methods
    ]
    lines.sort(key=lambda line: line["ndcg"]["mean"])
    with mpl.rc_context(STYLE):
        size = (7, 0.8 + 0.24 * len(lines))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for place, line in enumerate(lines):
            colour = ORANGE if line["kind"] == "baseline" else BLUE
            ndcg = line["ndcg"]
            axes.plot([ndcg["low"], ndcg["high"]], [place] * 2, color=colour, lw=1.2)
            axes.plot([ndcg["mean"]], [place], "o", color=colour, ms=5)
        axes.set_yticks(
            range(len(lines)),
            [f"{line['label']} ({line['users']:,})" for line in lines],
        )
        axes.set_xlim(left=0)
        axes.set_xlabel(
            f"NDCG@{lines[0]['cutoff']}, item level; orange: baselines; in brackets: "
            "users"
        )
        axes.grid(axis="x", color="#d7dde3", lw=0.6)
        axes.set_axisbelow(True)
    return figure
