"""Pinned thread counts: the same input must give the same bits on every run.

Matrix products round differently on another number of threads, and OPQ amplifies a
difference in the last bit into other codes for most items.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run numpy's linear algebra on one thread inside the block."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Run faiss on exactly ``threads`` OpenMP threads inside the block.

    BLAS threads inside OpenMP threads fight for the same cores and can triple the
    time of a k-means, so BLAS is held to one. (An OpenBLAS built on OpenMP, as in the
    faiss-gpu wheel, follows the OpenMP count instead and never nests: the order of
    the two settings matters.)
    """
    import faiss  # noqa: PLC0415 (its import takes a second)

    before = faiss.omp_get_max_threads()
    with single_threaded_blas():
        faiss.omp_set_num_threads(threads)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(before)
