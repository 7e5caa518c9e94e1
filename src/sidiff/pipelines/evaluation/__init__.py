"""Ranked items for every user, and how good they are."""

from sidiff.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
