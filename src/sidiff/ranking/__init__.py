"""Rankers of items, and lists of many users by one ranker."""
