"""Ranked items for every user, and how good they are."""
