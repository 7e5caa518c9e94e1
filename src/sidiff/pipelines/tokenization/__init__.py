"""Embeddings to semantic IDs."""

from sidiff.pipelines.tokenization.pipeline import create_pipeline

__all__ = ["create_pipeline"]
