"""Typed frames to sequences, samples and a catalogue."""

from sidiff.pipelines.filtering.pipeline import create_pipeline

__all__ = ["create_pipeline"]
