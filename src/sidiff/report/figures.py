"""The figure of a denoised SID, and figures as images inside a page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from sidiff.report.walk import WalkStep

COLUMNS = 4
"""Panels in a row."""


def walk_figure(steps: Sequence[WalkStep]) -> Figure:
    """Probabilities of all codes at every call, with a frame around the filled code."""
    rows = -(-len(steps) // COLUMNS)
    digits = len(steps[0].filled)
    figure = Figure(figsize=(8, rows * (0.9 + 0.3 * digits)), layout="constrained")
    panels = figure.subplots(
        rows, min(COLUMNS, len(steps)), sharex=True, sharey=True, squeeze=False
    ).ravel()
    for axes in panels[len(steps) :]:
        axes.set_axis_off()
    for number, (axes, step) in enumerate(zip(panels, steps, strict=False), 1):
        axes.imshow(step.probabilities, cmap="Blues", vmin=0, vmax=0.6, aspect="auto")
        for digit, code in enumerate(step.filled):
            if code >= 0:
                axes.text(code, digit, str(code), ha="center", va="center")
        corner = (step.code - 0.5, step.digit - 0.5)
        axes.add_patch(
            Rectangle(corner, 1, 1, fill=False, edgecolor="#c8773a", linewidth=2)
        )
        axes.set_title(f"call {number}", loc="left", fontsize=9)
        axes.set_xlabel("code")
        axes.set_yticks(range(digits), [f"digit {n + 1}" for n in range(digits)])
    return figure


def as_image(figure: Figure) -> str:
    """A figure as a data URL of an SVG image."""
    drawn = BytesIO()
    figure.savefig(drawn, format="svg")
    return f"data:image/svg+xml;base64,{b64encode(drawn.getvalue()).decode()}"
