"""From what a method knows of a user to the user's list: one way for every method."""
