"""Pipeline ``ablation``: trainings that differ in stated settings."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.ablation import nodes
from sidiff.pipelines.comparison.nodes import write_comparison
from sidiff.pipelines.graph import GPU, node


def create_pipeline() -> Pipeline:
    """Train the variants, rank with each, and compare."""
    return Pipeline(
        [
            node(
                nodes.train_variants,
                "variant_denoisers",
                "variant_history",
                "variant_masking",
                tags=GPU,
            ),
            node(nodes.rank_variants, "ablation_results", "ablation_costs", tags=GPU),
            node(
                nodes.compare_variants,
                "ablation",
                "ablation_report",
                results="ablation_results",
                costs="ablation_costs",
            ),
            node(
                write_comparison,
                "ablation_table",
                name="write_ablation",
                comparison="ablation",
            ),
            node(
                nodes.plot_ablation,
                "ablation_figure",
                "courses_figure",
                "variants_masking_figure",
                comparison="ablation",
                history="variant_history",
                masking="variant_masking",
            ),
        ],
        tags="ablation",
    )
