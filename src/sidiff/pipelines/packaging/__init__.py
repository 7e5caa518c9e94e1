"""The trained network as a folder that opens by itself."""

from sidiff.pipelines.packaging.pipeline import create_pipeline

__all__ = ["create_pipeline"]
