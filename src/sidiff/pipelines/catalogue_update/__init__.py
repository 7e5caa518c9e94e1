"""Other items for a bundle."""
