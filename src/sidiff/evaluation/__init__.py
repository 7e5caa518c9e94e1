"""Ranking of items for users, and how good it is."""
