"""Trainings that differ in stated settings, side by side."""
