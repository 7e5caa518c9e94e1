"""Pipeline ``baselines``: other methods on the same split."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.baselines import nodes
from sidiff.pipelines.graph import GPU, node


def create_pipeline() -> Pipeline:
    """Train what needs training, then rank the test split by every method."""
    return Pipeline(
        [
            node(nodes.fit_baselines, "baseline_networks", "baseline_tuning", tags=GPU),
            node(nodes.rank_baselines, "baseline_results", "baseline_costs", tags=GPU),
        ],
        tags="baselines",
    )
