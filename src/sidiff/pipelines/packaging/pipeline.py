"""Pipeline ``packaging``: a bundle of all that lists are made from, registered."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.packaging import nodes


def create_pipeline() -> Pipeline:
    """Put all that lists are made from into one folder, and register it."""
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
                    "params:evaluation",
                    "params:dataset",
                ],
                outputs="bundle",
                name="make_bundle",
                tags=["cpu"],
            ),
            register_node(),
        ],
        tags=["packaging"],
    )


def register_node() -> Node:
    """The node that registers a bundle, after whatever made it."""
    return Node(
        nodes.register_bundle,
        inputs=[
            "bundle",
            "sequences",
            "catalogue",
            "params:training",
            "params:comparison.bootstrap",
            "params:dataset",
        ],
        outputs="registration",
        name="register_bundle",
        tags=["cpu"],
    )
