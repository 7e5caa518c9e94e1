"""Pipeline ``comparison``: decoders and baselines in one table."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.comparison import nodes


def create_pipeline() -> Pipeline:
    """Measure, write and draw what the methods ranked."""
    return Pipeline(
        [
            Node(
                nodes.compare_methods,
                inputs=[
                    "evaluation_results",
                    "evaluation_costs",
                    "decoder_results",
                    "decoder_costs",
                    "baseline_results",
                    "baseline_costs",
                    "catalogue",
                    "sid_table",
                    "params:evaluation",
                    "params:comparison",
                ],
                outputs=["comparison", "comparison_report"],
                name="compare_methods",
                tags=["cpu"],
            ),
            Node(
                nodes.write_comparison,
                inputs=["comparison", "params:dataset"],
                outputs="comparison_table",
                name="write_comparison",
                tags=["cpu"],
            ),
            Node(
                nodes.plot_comparison,
                inputs=["comparison", "params:evaluation"],
                outputs=[
                    "comparison_figure",
                    "breakdown_figure",
                    "trade_off_figure",
                ],
                name="plot_comparison",
                tags=["cpu"],
            ),
        ],
        tags=["comparison"],
    )
