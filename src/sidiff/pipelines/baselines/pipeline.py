"""Pipeline ``baselines``: other methods on the same split."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.baselines import nodes


def create_pipeline() -> Pipeline:
    """Train what needs training, then rank the test split by every method."""
    return Pipeline(
        [
            Node(
                nodes.fit_baselines,
                inputs=[
                    "sequences",
                    "catalogue",
                    "training_samples",
                    "sid_table",
                    "params:baselines",
                    "params:training",
                    "params:evaluation.seeds",
                    "params:filtering.max_history",
                    "checkpoints",
                ],
                outputs=["baseline_networks", "baseline_tuning"],
                name="fit_baselines",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.rank_baselines,
                inputs=[
                    "baseline_networks",
                    "sequences",
                    "catalogue",
                    "sid_table",
                    "params:baselines",
                    "params:evaluation",
                    "params:filtering.max_history",
                ],
                outputs=["baseline_results", "baseline_costs"],
                name="rank_baselines",
                tags=["gpu", "expensive"],
            ),
        ],
        tags=["baselines"],
    )
