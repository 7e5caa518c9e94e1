"""Pipeline ``evaluation``: recommendations and how good they are."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.evaluation import nodes


def create_pipeline() -> Pipeline:
    """Decode the test split, measure it, and sum the run up."""
    return Pipeline(
        [
            Node(
                nodes.evaluate_denoiser,
                inputs=[
                    "denoiser",
                    "seed_denoisers",
                    "sequences",
                    "catalogue",
                    "sid_table",
                    "lattice",
                    "params:evaluation",
                    "params:ray.address",
                ],
                outputs=[
                    "recommendations",
                    "evaluation_results",
                    "evaluation_costs",
                    "metrics",
                ],
                name="evaluate_denoiser",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.compare_decoders,
                inputs=[
                    "denoiser",
                    "seed_denoisers",
                    "sequences",
                    "catalogue",
                    "sid_table",
                    "lattice",
                    "params:evaluation",
                    "params:ray.address",
                ],
                outputs=["decoder_results", "decoder_costs"],
                name="compare_decoders",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.plot_metrics,
                inputs="metrics",
                outputs="metrics_figure",
                name="plot_metrics",
                tags=["cpu"],
            ),
            Node(
                nodes.summarise_run,
                inputs=[
                    "data_statistics",
                    "sid_report",
                    "metrics",
                    "params:tokenization",
                    "params:evaluation.method",
                    "params:dataset",
                    "params:recipe",
                    "params:preset",
                ],
                outputs="run_summary",
                name="summarise_run",
                tags=["cpu"],
            ),
        ],
        tags=["evaluation"],
    )
