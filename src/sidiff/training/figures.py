"""Figures of trainings: losses, scores and masked digits over the epochs."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from plotly import graph_objects as go
from plotly.colors import DEFAULT_PLOTLY_COLORS as PALETTE
from plotly.subplots import make_subplots

SCORES = {
    "validation/sid/ndcg_at_10": "NDCG@10, SID level",
    "validation/item/ndcg_at_10": "NDCG@10, item level",
}


def training_figure(history: pl.DataFrame) -> go.Figure:
    """Losses and validation scores over the epochs, of one training or several.

    The figure is interactive in kedro-viz. For one training it also shows the learning
    rate and the best epoch; for several, each method has a colour.

    Args:
        history: rows of ``Fitted.history``; for several trainings with the columns
            method and seed.
    """
    figure = make_subplots(
        cols=2,
        specs=[[{"secondary_y": True}, {}]],
        subplot_titles=("Training", "Validation"),
    )
    if "method" in history.columns:
        methods = history["method"].unique(maintain_order=True).to_list()
        for (method, seed), part in history.partition_by(
            "method", "seed", as_dict=True, maintain_order=True
        ).items():
            line = {"color": PALETTE[methods.index(method) % len(PALETTE)]}
            _draw_training(figure, part, f"{method}, seed {seed}: ", method, line)
    else:
        _draw_training(figure, history, "", None, {})
        rates = history["train/learning_rate"]
        rate = go.Scatter(
            x=history["epoch"].to_list(),
            y=rates.to_list(),
            name="learning rate",
            line={"dash": "dot"},
        )
        figure.add_trace(rate, row=1, col=1, secondary_y=True)
        scored = history.drop_nulls("validation/score")
        best = scored["epoch"][int(scored["validation/score"].arg_max() or 0)]
        figure.add_vline(
            best, line_dash="dot", annotation_text=f"kept: epoch {best}", row=1, col=2
        )
    figure.update_xaxes(title="epoch", tickformat="d")
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_yaxes(title="loss, nats", row=1, col=1, secondary_y=False)
    figure.update_layout(template="plotly_white", hovermode="x unified")
    return figure


def _draw_training(
    figure: go.Figure,
    history: pl.DataFrame,
    prefix: str,
    group: str | None,
    line: dict[str, str],
) -> None:
    """Loss and validation scores of one training."""
    scored = history.drop_nulls("validation/score")
    panels = {"train/loss": ("loss", 1)} | {c: (name, 2) for c, name in SCORES.items()}
    for column, (name, panel) in panels.items():
        rows = history if panel == 1 else scored
        trace = go.Scatter(
            x=rows["epoch"].to_list(),
            y=rows[column].to_list(),
            name=f"{prefix}{name}",
            legendgroup=group,
            line=line,
        )
        figure.add_trace(trace, row=1, col=panel)


def scores_figure(history: pl.DataFrame) -> Figure:
    """Validation scores of one training over its epochs, as an image for pages.

    Args:
        history: rows of ``Fitted.history``.
    """
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=120)
    scored = history.drop_nulls("validation/score")
    axes = figure.subplots()
    for column, title in SCORES.items():
        axes.plot(scored["epoch"], scored[column], marker=".", label=title)
    axes.set_ylim(bottom=0)
    _over_epochs(axes)
    return figure


def masking_figure(masking: pl.DataFrame) -> Figure:
    """Shares of masked digits by number, by digit, and by codes in the history.

    Args:
        masking: rows of ``Fitted.masking``.
    """
    figure = Figure(figsize=(12, 3.2), layout="constrained", dpi=120)
    sizes, digits, known = figure.subplots(1, 3)
    views = masking.filter(of="views").filter(pl.col("value") > 0)
    _draw_shares(sizes, views, "digits masked")
    _draw_shares(digits, masking.filter(of="digit"), "digit")
    _draw_known(known, masking.filter(of="in_history"))
    sizes.set_title("how many are masked", loc="left", fontsize=11)
    digits.set_title("which", loc="left", fontsize=11)
    known.set_title("by what the history has", loc="left", fontsize=11)
    return figure


def _draw_shares(axes: Axes, rows: pl.DataFrame, label: str) -> None:
    """Draw shares as shades, with a value per row and an epoch per column."""
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
    axes.set_ylabel(label)
    axes.figure.colorbar(image, ax=axes, label="share of views")


def _draw_known(axes: Axes, rows: pl.DataFrame) -> None:
    for value, title in ((1, "in the history"), (0, "not in the history")):
        part = rows.filter(value=value)
        axes.plot(part["epoch"], part["share"], marker=".", label=f"code {title}")
    axes.set_ylabel("share of digits masked")
    axes.set_ylim(0, 1)
    _over_epochs(axes)


def _over_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
