"""Pipeline ``tokenization``: semantic IDs for every item of the catalogue."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.graph import node
from sidiff.pipelines.tokenization import nodes


def create_pipeline() -> Pipeline:
    """Whiten the items' vectors, quantize them, and report on the outcome."""
    return Pipeline(
        [
            node(nodes.describe_items, "item_vectors"),
            node(nodes.fit_whitening, "whitening"),
            node(nodes.fit_quantizer, "quantizer", tags=("cpu", "expensive")),
            node(nodes.assign_sids, "sid_table"),
            node(nodes.build_lattice, "lattice"),
            node(nodes.report_sids, "sid_report", "sid_figure"),
        ],
        tags="tokenization",
    )
