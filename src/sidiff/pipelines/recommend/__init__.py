"""Lists for every user."""
