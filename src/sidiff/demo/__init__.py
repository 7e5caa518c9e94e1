"""A page on which a bundle can be looked at."""
