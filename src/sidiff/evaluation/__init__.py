"""Metrics of ranked lists, and the comparison of methods."""
