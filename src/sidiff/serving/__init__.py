"""From a trained network to lists for anybody: bundle and recommender."""

from sidiff.serving.bundle import Bundle
from sidiff.serving.recommender import Recommender

__all__ = ["Bundle", "Recommender"]
