"""Report of a SID table: collisions, and the use of the codes of each digit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sidiff.sids.table import SidTable

INK, FILL, GRID = "#33414f", "#4878a8", "#d7dde3"

LEGEND_DIGITS = 8
"""Largest number of digits that are drawn with a legend."""

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def sid_report(
    table: SidTable, trained: NDArray[np.bool_], error: Mapping[str, float]
) -> dict[str, Any]:
    """Summarise a SID table in a flat dict for JSON.

    A *collision group* is two or more items with the same SID. ``collision_rate`` is
    the share of items in such groups. ``entropy_bits_digit_j`` is the entropy of the
    codes of digit j over all items, at most log2 of ``codebook_size``;
    ``utilisation_digit_j`` is the share of codes that occur.

    Args:
        table: semantic IDs of N items.
        trained: (N,) bool, items in the training samples.
        error: quantization error, see ``tokenizer.quantization_error``.
    """
    sizes = table.groups().sizes
    shared = sizes[sizes > 1]
    in_collisions = (sizes > 1)[table.groups().sid_of_item]
    report: dict[str, Any] = {
        "items": len(table.codes),
        "items_in_training": int(trained.sum()),
        "digits": table.digits,
        "codebook_size": table.codebook_size,
        "distinct_sids": len(sizes),
        "collision_groups": len(shared),
        "items_in_collisions": int(shared.sum()),
        "items_not_in_training_in_collisions": int((in_collisions & ~trained).sum()),
        "collision_rate": float(in_collisions.mean()),
        "largest_group": int(sizes.max()),
        "mean_group": float(sizes.mean()),
        **error,
        "fingerprint": table.fingerprint,
    }
    for digit, counts in enumerate(_code_counts(table)):
        report[f"entropy_bits_digit_{digit}"] = _entropy_bits(counts)
        report[f"utilisation_digit_{digit}"] = float((counts > 0).mean())
    return report


def sid_figure(table: SidTable) -> Figure:
    """Draw the use of the codes, digit by digit, and the sizes of the groups."""
    # A figure without pyplot needs no display and no global state.
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained", dpi=120)
        usage, groups = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_usage(usage, table)
        _draw_groups(groups, table)
    return figure


def _code_counts(table: SidTable) -> NDArray[np.int64]:
    """Count the items of each code at each digit, (L, K)."""
    size = table.codebook_size
    shifted = table.codes.astype(np.int64) + np.arange(table.digits) * size
    counts = np.bincount(shifted.ravel(), minlength=table.digits * size)
    return counts.reshape(table.digits, size)


def _entropy_bits(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(abs((shares * np.log2(shares)).sum()))


def _draw_usage(axes: Axes, table: SidTable) -> None:
    """Draw items per code, most used first, one line per digit."""
    counts = np.sort(_code_counts(table), axis=1)[:, ::-1]
    size = table.codebook_size
    colours = colormaps["viridis"](np.linspace(0.0, 0.85, table.digits))
    for digit, (used, colour) in enumerate(zip(counts, colours, strict=True)):
        label = f"digit {digit + 1}: {_entropy_bits(used):.2f} bits"
        axes.stairs(used, baseline=None, color=colour, lw=1.4, label=label)
    even = len(table.codes) / size
    axes.axhline(even, color=INK, lw=1.0, ls=(0, (4, 3)), zorder=1)
    label = f"even use: {even:.3g}"
    axes.text(size, even, label, ha="right", va="bottom", color=INK)
    axes.set(xlim=(0, size), ylim=(0, None), ylabel="items per code")
    axes.set_xlabel(f"the {size} codes of a digit, most used first")
    axes.set_title("Use of the codes")
    if table.digits <= LEGEND_DIGITS:
        axes.legend(title=f"entropy, of {np.log2(size):.2f} bits", alignment="left")


def _draw_groups(axes: Axes, table: SidTable) -> None:
    """Draw the number of SIDs by the number of their items: 1, 2, 3, 4, 5-8, ..."""
    sizes = table.groups().sizes
    edges = [1, 2, 3, 4, 5]
    while edges[-1] <= sizes.max():
        edges.append(2 * edges[-1] - 1)
    counts, _ = np.histogram(sizes, bins=edges)
    names = [
        str(first) if end == first + 1 else f"{first}\u2013{end - 1}"
        for first, end in pairwise(edges)
    ]
    bars = axes.bar(names, counts, color=FILL, width=0.8)
    labels = [f"{count:,}" if count else "" for count in counts]
    axes.bar_label(bars, labels, padding=2, color=INK)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, counts.max() * 3)
    axes.set(xlabel="items with the same SID", ylabel="SIDs")
    axes.set_title(f"{len(sizes):,} SIDs for {len(table.codes):,} items")
