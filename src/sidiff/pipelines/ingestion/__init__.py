"""Raw files to typed frames."""

from sidiff.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
