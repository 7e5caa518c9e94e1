"""The lists of all methods as one table and two figures per data set."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sidiff.evaluation.settings import ComparisonParameters, EvaluationParameters
from sidiff.pipelines.frames import check_ranked
from sidiff.sids.table import SidTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive


def compare_methods(
    evaluation_results: pl.DataFrame,
    evaluation_costs: pl.DataFrame,
    decoder_results: pl.DataFrame,
    decoder_costs: pl.DataFrame,
    baseline_results: pl.DataFrame,
    baseline_costs: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    evaluation: EvaluationParameters,
    settings: ComparisonParameters,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Measure the configured method, decoders and baselines at both levels."""
    from sidiff.evaluation.comparison import compare, flat_report

    table = SidTable.from_frame(sid_table)
    for name, results in (
        ("evaluation_results", evaluation_results),
        ("decoder_results", decoder_results),
        ("baseline_results", baseline_results),
    ):
        check_ranked(results, name)
    comparison = compare(
        {
            "decoder": pl.concat([evaluation_results, decoder_results]),
            "baseline": baseline_results,
        },
        {
            "decoder": pl.concat([evaluation_costs, decoder_costs]),
            "baseline": baseline_costs,
        },
        catalogue,
        table.groups().sid_of_item,
        evaluation.cutoffs,
        settings,
    )
    return comparison, flat_report(comparison)


def write_comparison(comparison: pl.DataFrame, dataset: str) -> str:
    """Lay the comparison out as a page of Markdown."""
    from sidiff.evaluation.headlines import comparison_table

    return comparison_table(comparison, dataset)


def plot_comparison(
    comparison: pl.DataFrame, evaluation: EvaluationParameters
) -> tuple[Figure, Figure, Interactive]:
    """Draw all methods at both levels, the main ones by bucket, decoders by cost."""
    from sidiff.evaluation.figures import (
        breakdown_figure,
        comparison_figure,
        trade_off_figure,
    )
    from sidiff.evaluation.headlines import headlines

    decoders = evaluation.other_decoders()
    searched = {
        name: ranking.method
        for name, ranking in decoders.items()
        if not ranking.by_items
    }
    return (
        comparison_figure(headlines(comparison)),
        breakdown_figure(comparison),
        trade_off_figure(comparison, searched),
    )
