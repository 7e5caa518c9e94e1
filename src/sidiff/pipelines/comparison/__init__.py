"""Decoders and baselines side by side."""

from sidiff.pipelines.comparison.pipeline import create_pipeline

__all__ = ["create_pipeline"]
