"""Pipeline ``comparison``: decoders and baselines in one table."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.comparison import nodes
from sidiff.pipelines.graph import node


def create_pipeline() -> Pipeline:
    """Measure, write and draw what the methods ranked."""
    return Pipeline(
        [
            node(
                nodes.compare_methods,
                "comparison",
                "comparison_report",
                settings="params:comparison",
            ),
            node(nodes.write_comparison, "comparison_table"),
            node(
                nodes.plot_comparison,
                "comparison_figure",
                "breakdown_figure",
                "trade_off_figure",
            ),
        ],
        tags="comparison",
    )
