"""Test metrics, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROWS = {
    "test/sid": "sidiff, SID level",
    "test/item": "sidiff, item level",
    "test/popularity": "popularity, item level",
}


def metrics_figure(metrics: Mapping[str, float]) -> Figure:
    """Recall and NDCG at both levels beside the popularity baseline.

    Args:
        metrics: as ``sidiff.evaluation.run.Evaluation.metrics``.
    """
    names = [
        n.removeprefix("test/item/") for n in metrics if n.startswith("test/item/")
    ]
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=120)
    axes = figure.subplots()
    bars = {
        label: [metrics[f"{row}/{n}"] for n in names] for row, label in ROWS.items()
    }
    _draw_bars(axes, bars, names)
    axes.set_title(f"Test split, {metrics['n_users']:,.0f} users")
    return figure


def _draw_bars(
    axes: Axes, bars: Mapping[str, Sequence[float]], names: Sequence[str]
) -> None:
    """One group of bars per metric, one bar per row, with its value on top."""
    places = np.arange(len(names))
    width = 0.8 / len(bars)
    for index, (label, values) in enumerate(bars.items()):
        drawn = axes.bar(
            places + (index - (len(bars) - 1) / 2) * width, values, width, label=label
        )
        axes.bar_label(drawn, fmt="{:.3g}", fontsize=6.5, padding=1)
    titles = [name.replace("_at_", "@") for name in names]
    titles = [t.replace("recall", "Recall").replace("ndcg", "NDCG") for t in titles]
    axes.set_xticks(places, titles)
    axes.margins(y=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=len(bars), loc="upper center")
