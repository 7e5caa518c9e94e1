"""The course of a training run, drawn."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SCORES = {
    "validation/sid/ndcg_at_10": "NDCG@10, SID level",
    "validation/item/ndcg_at_10": "NDCG@10, item level",
}


def training_figure(history: pl.DataFrame) -> Figure:
    """Loss and learning rate beside the validation scores, epoch by epoch.

    Args:
        history: as ``sidiff.training.loop.Fitted.history``.
    """
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=120)
    loss, scores = figure.subplots(1, 2)
    _draw_loss(loss, history)
    _draw_scores(scores, history)
    for axes in (loss, scores):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_loss(axes: Axes, history: pl.DataFrame) -> None:
    axes.plot(history["epoch"], history["train/loss"], marker=".", color="tab:blue")
    axes.set_title("Training loss and learning rate")
    axes.set_ylabel("loss (nats per hidden digit)")
    rate = axes.twinx()
    rate.plot(history["epoch"], history["train/learning_rate"], ":", color="tab:gray")
    rate.set_ylabel("learning rate (dotted)")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.spines["top"].set_visible(False)


def _draw_scores(axes: Axes, history: pl.DataFrame) -> None:
    axes.set_title("Validation")
    scored = history.drop_nulls("validation/score")
    for column, label in SCORES.items():
        axes.plot(scored["epoch"], scored[column], marker=".", label=label)
    best = scored["epoch"][int(scored["validation/score"].arg_max() or 0)]
    axes.axvline(best, color="tab:gray", linestyle=":", label=f"kept: epoch {best}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
