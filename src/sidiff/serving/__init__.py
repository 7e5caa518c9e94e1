"""Bundles of a trained network and its items, and recommenders of a bundle."""

from sidiff.serving.bundle import Bundle
from sidiff.serving.recommender import Recommender

__all__ = ["Bundle", "Recommender"]
