"""Pipeline ``report``: a run as one page."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from sidiff.pipelines.report import nodes


def create_pipeline() -> Pipeline:
    """Write the page of a run."""
    return Pipeline(
        [
            Node(
                nodes.write_run_report,
                inputs=[
                    "data_statistics",
                    "sid_report",
                    "sequences",
                    "catalogue",
                    "sid_table",
                    "denoiser",
                    "training_history",
                    "evaluation_results",
                    "comparison",
                    *(f"params:{name}" for name in nodes.NAMES + nodes.GROUPS),
                ],
                outputs="run_report",
                name="write_run_report",
                tags=["cpu"],
            ),
        ],
        tags=["report"],
    )
