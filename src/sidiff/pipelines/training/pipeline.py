"""Pipeline ``training``: the denoiser."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.graph import GPU, node
from sidiff.pipelines.training import nodes


def create_pipeline() -> Pipeline:
    """Train the denoiser and draw how it went."""
    return Pipeline(
        [
            node(
                nodes.train_denoiser,
                "denoiser",
                "training_history",
                "masking_history",
                tags=GPU,
            ),
            node(nodes.train_more_seeds, "seed_denoisers", tags=GPU),
            node(nodes.plot_training, "training_figure", "masking_figure"),
        ],
        tags="training",
    )
