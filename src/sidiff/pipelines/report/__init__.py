"""Pipeline ``report``: a run as one page."""

from sidiff.pipelines.report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
