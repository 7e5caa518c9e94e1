"""Sequences and semantic IDs to a denoiser."""
