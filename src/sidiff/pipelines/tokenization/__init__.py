"""Semantic IDs from embeddings."""
