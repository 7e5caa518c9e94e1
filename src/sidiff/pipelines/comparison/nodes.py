"""Nodes of the comparison of all methods: a table, a page and two figures."""

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
) -> pl.DataFrame:
    """Measure the configured method, decoders and baselines at both levels."""
    from sidiff.evaluation.comparison import compare

    table = SidTable.from_frame(sid_table)
    for name, results in (
        ("evaluation_results", evaluation_results),
        ("decoder_results", decoder_results),
        ("baseline_results", baseline_results),
    ):
        check_ranked(results, name)
    return compare(
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


def write_comparison(comparison: pl.DataFrame, dataset: str) -> str:
    """The comparison as a page of Markdown."""
    from sidiff.evaluation.headlines import comparison_table

    return comparison_table(comparison, dataset)


def plot_comparison(
    comparison: pl.DataFrame, evaluation: EvaluationParameters
) -> tuple[Figure, Interactive]:
    """Draw all methods at both levels, and decoders by their cost."""
    from sidiff.evaluation.figures import comparison_figure, trade_off_figure
    from sidiff.evaluation.headlines import headlines

    searches = {
        name: ranking.method
        for name, ranking in evaluation.other_decoders().items()
        if not ranking.needs_posterior
    }
    lines = headlines(comparison)
    return comparison_figure(lines), trade_off_figure(comparison, searches)
