"""Generation of a synthetic shop, instead of real raw files."""
