"""Pinned thread counts, for equal results on every machine.

Matrix products round differently with another number of threads, and OPQ amplifies a
difference in the last bit to other codes for most items.
"""

from __future__ import annotations

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def single_threaded_blas() -> threadpool_limits:
    """Run numpy's linear algebra on one thread inside the block."""
    return threadpool_limits(limits=1, user_api="blas")
