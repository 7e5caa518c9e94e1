"""A trained network in use: the bundle and its recommender."""

from sidiff.serving.bundle import Bundle
from sidiff.serving.recommender import Recommender

__all__ = ["Bundle", "Recommender"]
