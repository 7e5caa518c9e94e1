"""Filtering of interactions, and the split into sequences and samples."""
