"""Trainings that differ in stated settings, side by side."""

from sidiff.pipelines.ablation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
