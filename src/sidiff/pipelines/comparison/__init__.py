"""Decoders and baselines side by side."""
