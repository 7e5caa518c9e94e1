"""The comparison of decoders and baselines."""
