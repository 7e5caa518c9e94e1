"""The last bundle with new items and without removed ones."""
