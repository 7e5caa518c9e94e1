"""Search for the semantic IDs that a user's history makes likely."""
