"""Methods to compare with, on the same split."""
