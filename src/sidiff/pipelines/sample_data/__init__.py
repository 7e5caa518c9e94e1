"""A synthetic shop in the place of real raw files."""
