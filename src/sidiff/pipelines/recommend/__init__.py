"""Lists for every user."""

from sidiff.pipelines.recommend.pipeline import create_pipeline

__all__ = ["create_pipeline"]
