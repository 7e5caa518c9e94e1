"""Small charts as SVG, coloured by the style sheet of the page around them.

Names and numbers come from the code and not from data, so nothing needs escaping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 34
STEPS = 5
"""Most steps of the vertical axis."""

FAINT = 0.004
"""Probability below which a cell is left out: nobody would see it."""

Points = Sequence[tuple[float, float]]


def line_chart(lines: Mapping[str, Points], across: str, mark: float | None) -> str:
    """Lines over one axis, each with its name at the foot.

    Args:
        lines: points by name; the vertical axis begins at 0.
        across: title of the horizontal axis.
        mark: where to draw a vertical line; None for none.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _ticks(max(y for _, y in points))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - first) / (last - first) if last > first else 0.5
        return LEFT + wide * share, TOP + high * (1 - y / ticks[-1])

    parts = []
    for tick in ticks:
        _, y = place(first, tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/><text x="{LEFT - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{tick:g}</text>'
        )
    for x in {first, last} | ({mark} if mark is not None else set()):
        across_x, _ = place(x, 0)
        parts.append(
            f'<text x="{across_x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">'
            f"{x:g}</text>"
        )
    parts.append(
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 2}" text-anchor="middle">'
        f"{across}</text>"
    )
    if mark is not None:
        x, _ = place(mark, 0)
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" '
            f'y2="{TOP + high}"/>'
        )
    for number, line in enumerate(lines.values()):
        places = [place(x, y) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
        parts.append(f'<g class="line{number}"><polyline points="{path}"/>{dots}</g>')
    names = ", ".join(lines)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{names}">'
        f"{''.join(parts)}</svg>"
    )


def strip(probabilities: NDArray[np.float32], chosen: int | None) -> str:
    """Probabilities of one digit's codes as a row of shades.

    Args:
        probabilities: ``(K,)``.
        chosen: the code that was filled in; None where the digit stays masked.
    """
    cells = [
        f'<rect x="{code}" width="1" height="1" opacity="{value**0.5:.2f}">'
        f"<title>code {code}: {value:.3f}</title></rect>"
        for code, value in enumerate(probabilities)
        if value > FAINT
    ]
    if chosen is not None:
        cells.append(f'<rect class="chosen" x="{chosen}" width="1" height="1"/>')
    return (
        f'<svg class="strip" viewBox="0 0 {len(probabilities)} 1" '
        f'preserveAspectRatio="none">{"".join(cells)}</svg>'
    )


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to ``top`` or the next beyond it."""
    locator = MaxNLocator(STEPS, steps=[1, 2, 2.5, 5, 10])
    return list(map(float, locator.tick_values(0.0, top or 1.0)))
