"""The course of a training run, drawn.

``history`` and ``masking`` are those of ``sidiff.training.loop.Fitted``.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from plotly import graph_objects as go
from plotly.subplots import make_subplots

SCORES = {
    "validation/sid/ndcg_at_10": "NDCG@10, SID level",
    "validation/item/ndcg_at_10": "NDCG@10, item level",
}


def training_figure(history: pl.DataFrame) -> go.Figure:
    """Loss and learning rate beside the validation scores, epoch by epoch.

    Interactive: kedro-viz shows the numbers under the pointer.
    """
    figure = make_subplots(
        cols=2,
        specs=[[{"secondary_y": True}, {}]],
        subplot_titles=("Training", "Validation"),
    )
    scored = history.drop_nulls("validation/score")

    def draw(rows: pl.DataFrame, column: str, name: str, **place: Any) -> None:
        line = {"dash": "dot"} if place.get("secondary_y") else {}
        x, y = rows["epoch"].to_list(), rows[column].to_list()
        figure.add_trace(go.Scatter(x=x, y=y, name=name, line=line), row=1, **place)

    draw(history, "train/loss", "loss", col=1, secondary_y=False)
    draw(history, "train/learning_rate", "learning rate", col=1, secondary_y=True)
    for column, name in SCORES.items():
        draw(scored, column, name, col=2)
    best = scored["epoch"][int(scored["validation/score"].arg_max() or 0)]
    figure.add_vline(
        best, line_dash="dot", annotation_text=f"kept: epoch {best}", row=1, col=2
    )
    figure.update_xaxes(title="epoch", tickformat="d")
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_yaxes(title="loss, nats", row=1, col=1, secondary_y=False)
    figure.update_layout(template="plotly_white", hovermode="x unified")
    return figure


def masking_figure(masking: pl.DataFrame) -> Figure:
    """Masked digits: how many, which ones, and whether in the history.

    Args:
        masking: as ``sidiff.training.loop.Fitted.masking``; with method and seed beside
            it, one row of panels per method, of its first seed.
    """
    parts = {("",): masking}
    if "method" in masking.columns:
        parts = masking.partition_by("method", as_dict=True, maintain_order=True)
    size = (12, 0.6 + 2.6 * len(parts))
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    grid = figure.subplots(len(parts), 3, squeeze=False)
    for (sizes, digits, known), ((name,), part) in zip(
        grid, parts.items(), strict=True
    ):
        if name:
            part = part.filter(pl.col("seed") == part["seed"][0])  # noqa: PLW2901
        views = part.filter(of="views").filter(pl.col("value") > 0)
        _draw_shares(sizes, views, "digits masked")
        _draw_shares(digits, part.filter(of="digit"), "digit")
        _draw_known(known, part.filter(of="in_history"))
        prefix = f"{name}: " if name else ""
        sizes.set_title(f"{prefix}how many are masked", loc="left", fontsize=11)
        digits.set_title("which", loc="left", fontsize=11)
        known.set_title("by what the history has", loc="left", fontsize=11)
    return figure


def courses_figure(history: pl.DataFrame) -> Figure:
    """Validation scores over the epochs, one colour per method, one line per seed.

    Args:
        history: rows of ``Fitted.history`` with method and seed beside them.
    """
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=120)
    scored = history.drop_nulls("validation/score")
    for axes, (column, title) in zip(
        figure.subplots(1, 2, sharex=True), SCORES.items(), strict=True
    ):
        parts = scored.partition_by("method", as_dict=True, maintain_order=True)
        for place, ((method,), part) in enumerate(parts.items()):
            for seed in part.partition_by("seed", maintain_order=True):
                axes.plot(seed["epoch"], seed[column], color=f"C{place}", marker=".")
            axes.plot([], [], color=f"C{place}", marker=".", label=str(method))
        axes.set_title(f"Validation {title}", loc="left", fontsize=11)
        axes.set_ylim(bottom=0)
        _tidy(axes)
    return figure


def _draw_shares(axes: Axes, rows: pl.DataFrame, what: str) -> None:
    """A value per row, an epoch per column, its share as a shade."""
    table = rows.pivot(on="epoch", index="value", values="share")
    epochs, values = rows["epoch"].unique().sort(), table["value"]
    image = axes.imshow(
        table.drop("value").to_numpy(),
        aspect="auto",
        origin="lower",
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(
            epochs[0] - 0.5,
            epochs[-1] + 0.5,
            values[0] - 0.5,
            values[-1] + 0.5,
        ),
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(what)
    axes.figure.colorbar(image, ax=axes, label="share of views")


def _draw_known(axes: Axes, rows: pl.DataFrame) -> None:
    for value, title in ((1, "in the history"), (0, "not in the history")):
        part = rows.filter(value=value)
        axes.plot(part["epoch"], part["share"], marker=".", label=f"code {title}")
    axes.set_ylabel("share of digits masked")
    axes.set_ylim(0, 1)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    """Axes of lines over the epochs."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
