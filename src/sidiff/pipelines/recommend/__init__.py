"""Lists for every user of the shop."""
