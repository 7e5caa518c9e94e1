"""Engines of a training: this process, several of this machine, or a cluster.

``sidiff.training.loop.fit`` is the same everywhere; these modules carry its arguments
to the processes that run it, and what they report back to the one that asked.
"""

from sidiff.engines.job import Job
from sidiff.engines.launch import train

__all__ = ["Job", "train"]
