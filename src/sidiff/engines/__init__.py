"""Engines of a training: this process, several of this machine, or a Ray cluster.

Every engine runs ``sidiff.training.loop.fit``. These modules send its job to the worker
processes, and return their events and the result to the process that started them.
"""
