"""Other methods on the same split."""

from sidiff.pipelines.baselines.pipeline import create_pipeline

__all__ = ["create_pipeline"]
