"""Reading of raw files."""
