"""Engines of a training: this process, several of this machine, or a cluster.

``sidiff.training.loop.fit`` is the same everywhere; these modules carry its job to the
processes that run it, and what they report back to the one that started them.
"""
