"""Pipeline ``ablation``: trainings that differ in stated settings."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.ablation import nodes


def create_pipeline() -> Pipeline:
    """Train the variants, rank with each, and compare."""
    return Pipeline(
        [
            Node(
                nodes.train_variants,
                inputs=[
                    "sequences",
                    "catalogue",
                    "training_samples",
                    "sid_table",
                    "lattice",
                    "params:training",
                    "params:ablation",
                    "params:filtering.max_history",
                    "checkpoints",
                    "params:ray.address",
                ],
                outputs=["variant_denoisers", "variant_history", "variant_masking"],
                name="train_variants",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.rank_variants,
                inputs=[
                    "variant_denoisers",
                    "sequences",
                    "catalogue",
                    "sid_table",
                    "lattice",
                    "params:evaluation",
                    "params:ablation",
                    "params:ray.address",
                ],
                outputs=["ablation_results", "ablation_costs"],
                name="rank_variants",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.compare_variants,
                inputs=[
                    "ablation_results",
                    "ablation_costs",
                    "catalogue",
                    "sid_table",
                    "params:evaluation",
                    "params:comparison",
                    "params:ablation",
                ],
                outputs=["ablation", "ablation_report"],
                name="compare_variants",
                tags=["cpu"],
            ),
            Node(
                nodes.write_ablation,
                inputs=["ablation", "params:dataset"],
                outputs="ablation_table",
                name="write_ablation",
                tags=["cpu"],
            ),
            Node(
                nodes.plot_ablation,
                inputs=["ablation", "variant_history", "variant_masking"],
                outputs=[
                    "ablation_figure",
                    "courses_figure",
                    "variants_masking_figure",
                ],
                name="plot_ablation",
                tags=["cpu"],
            ),
        ],
        tags=["ablation"],
    )
