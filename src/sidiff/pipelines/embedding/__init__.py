"""Sentence embeddings of items."""
