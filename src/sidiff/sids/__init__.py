"""Semantic IDs: text embeddings, whitening, quantizers, the SID table, its report."""
