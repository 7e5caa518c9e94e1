"""Embeddings to semantic IDs."""
