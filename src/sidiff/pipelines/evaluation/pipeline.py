"""Pipeline ``evaluation``: recommendations and how good they are."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.evaluation import nodes
from sidiff.pipelines.graph import GPU, node


def create_pipeline() -> Pipeline:
    """Decode the test split, measure it, and sum the run up."""
    return Pipeline(
        [
            node(
                nodes.evaluate_denoiser,
                "test_lists",
                "evaluation_results",
                "evaluation_costs",
                "metrics",
                tags=GPU,
            ),
            node(nodes.compare_decoders, "decoder_results", "decoder_costs", tags=GPU),
            node(nodes.plot_metrics, "metrics_figure"),
            node(nodes.summarise_run, "run_summary"),
        ],
        tags="evaluation",
    )
