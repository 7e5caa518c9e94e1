"""Test metrics, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROWS = {
    "test/sid": "DiffGRM, SID level",
    "test/item": "DiffGRM, item level",
    "test/popularity": "popularity, item level",
}
CONTROLS = "test/controls"


def metrics_figure(metrics: Mapping[str, float]) -> Figure:
    """Recall and NDCG beside the baseline, and the decoders compared if any were.

    Args:
        metrics: as ``sidiff.evaluation.run.Evaluation.metrics``.
    """
    names = [
        n.removeprefix("test/item/") for n in metrics if n.startswith("test/item/")
    ]
    decoders = sorted(
        {name.split("/")[2] for name in metrics if name.startswith(f"{CONTROLS}/")}
        - {"n_users"}
    )
    figure = Figure(figsize=(13 if decoders else 7, 4), layout="constrained", dpi=120)
    panels = figure.subplots(1, 2 if decoders else 1, squeeze=False)[0]
    bars = {
        label: [metrics[f"{row}/{n}"] for n in names] for row, label in ROWS.items()
    }
    _draw_bars(panels[0], bars, names)
    panels[0].set_title(f"Test split, {metrics['n_users']:,.0f} users")
    if decoders:
        bars = {
            name.replace("_", " "): [
                metrics[f"{CONTROLS}/{name}/sid/{n}"] for n in names
            ]
            for name in decoders
        }
        _draw_bars(panels[1], bars, names)
        users = metrics[f"{CONTROLS}/n_users"]
        panels[1].set_title(f"Decoders, SID level, {users:,.0f} of the users")
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
