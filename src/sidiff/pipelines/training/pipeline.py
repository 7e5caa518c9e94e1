"""Pipeline ``training``: the denoiser."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.training import nodes


def create_pipeline() -> Pipeline:
    """Train the denoiser and draw how it went."""
    return Pipeline(
        [
            Node(
                nodes.train_denoiser,
                inputs=[
                    "sequences",
                    "catalogue",
                    "training_samples",
                    "sid_table",
                    "lattice",
                    "params:training",
                    "params:filtering.max_history",
                    "checkpoints",
                    "params:ray.address",
                ],
                outputs=["denoiser", "training_history", "masking_history"],
                name="train_denoiser",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.train_more_seeds,
                inputs=[
                    "sequences",
                    "catalogue",
                    "training_samples",
                    "sid_table",
                    "lattice",
                    "params:training",
                    "params:evaluation.seeds",
                    "params:filtering.max_history",
                    "checkpoints",
                    "params:ray.address",
                ],
                outputs="seed_denoisers",
                name="train_more_seeds",
                tags=["gpu", "expensive"],
            ),
            Node(
                nodes.plot_training,
                inputs=["training_history", "masking_history"],
                outputs=["training_figure", "masking_figure"],
                name="plot_training",
                tags=["cpu"],
            ),
        ],
        tags=["training"],
    )
