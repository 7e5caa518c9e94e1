"""The trained network and its items as a bundle."""
