"""Sequences and semantic IDs to a denoiser."""

from sidiff.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
