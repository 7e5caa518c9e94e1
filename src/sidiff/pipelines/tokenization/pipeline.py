"""Pipeline ``tokenization``: semantic IDs for every item of the catalogue."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.tokenization import nodes


def create_pipeline() -> Pipeline:
    """Whiten the items' vectors, quantize them, and report on the outcome."""
    return Pipeline(
        [
            Node(
                nodes.describe_items,
                inputs=[
                    "item_embeddings",
                    "sequences",
                    "catalogue",
                    "params:tokenization",
                ],
                outputs="item_vectors",
                name="describe_items",
            ),
            Node(
                nodes.fit_whitening,
                inputs=[
                    "item_vectors",
                    "catalogue",
                    "previous_whitening",
                    "previous_quantizer",
                    "previous_sid_table",
                    "params:tokenization",
                ],
                outputs="whitening",
                name="fit_whitening",
            ),
            Node(
                nodes.fit_quantizer,
                inputs=[
                    "item_vectors",
                    "catalogue",
                    "whitening",
                    "previous_quantizer",
                    "params:tokenization",
                ],
                outputs="quantizer",
                name="fit_quantizer",
                tags=["expensive"],
            ),
            Node(
                nodes.assign_sids,
                inputs=[
                    "item_vectors",
                    "catalogue",
                    "whitening",
                    "quantizer",
                    "previous_sid_table",
                    "params:tokenization",
                ],
                outputs="sid_table",
                name="assign_sids",
            ),
            Node(
                nodes.build_lattice,
                inputs="sid_table",
                outputs="lattice",
                name="build_lattice",
            ),
            Node(
                nodes.report_sids,
                inputs=[
                    "sid_table",
                    "catalogue",
                    "item_vectors",
                    "whitening",
                    "quantizer",
                    "params:tokenization",
                ],
                outputs=["sid_report", "sid_figure"],
                name="report_sids",
            ),
        ],
        tags=["tokenization", "cpu"],
    )
