"""A synthetic shop in the place of real raw files."""

from sidiff.pipelines.sample_data.pipeline import create_pipeline

__all__ = ["create_pipeline"]
