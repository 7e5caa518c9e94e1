"""Other items for a bundle."""

from sidiff.pipelines.catalogue_update.pipeline import create_pipeline

__all__ = ["create_pipeline"]
