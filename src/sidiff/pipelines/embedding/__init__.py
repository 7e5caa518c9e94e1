"""Items to texts to sentence embeddings."""
