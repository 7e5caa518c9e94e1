"""Items to texts to sentence embeddings."""

from sidiff.pipelines.embedding.pipeline import create_pipeline

__all__ = ["create_pipeline"]
