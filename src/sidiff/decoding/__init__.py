"""Decoding: the search for the next semantic IDs of a user."""
