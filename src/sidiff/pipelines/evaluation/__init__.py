"""Lists for every user of the test split, and their metrics."""
