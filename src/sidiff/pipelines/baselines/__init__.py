"""Other methods on the same split."""
