"""Rankers of items, and the lists of users by one of them."""
