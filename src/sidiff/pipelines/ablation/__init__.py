"""Comparison of trainings with changed settings."""
