"""Other methods on the same split, ranked in the same form."""
