"""Pipeline ``packaging``: a bundle of all that lists are made from."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.packaging import nodes


def create_pipeline() -> Pipeline:
    """Put network, semantic IDs, titles, lattice and chain into one folder."""
    return Pipeline(
        [
            Node(
                nodes.make_bundle,
                inputs=[
                    "denoiser",
                    "sequences",
                    "catalogue",
                    "sid_table",
                    "lattice",
                    "metrics",
                    "params:evaluation",
                    "params:dataset",
                ],
                outputs="bundle",
                name="make_bundle",
                tags=["cpu"],
            ),
        ],
        tags=["packaging"],
    )
