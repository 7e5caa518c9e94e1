"""Training of quantizers with faiss; the results are plain arrays.

Product quantizers use the factory string of DiffGRM's released code,
``OPQ4,IVF1,PQ4x8`` with inner product, and faiss's defaults: 50 iterations of the
rotation, 25 of each k-means. One inverted list means one coarse centroid, a constant
that is subtracted after the rotation. The polysemous training at the end is skipped: it
only renumbers the codes, and takes a third of the time.

Product quantizers of faiss have 2^b codes, at most 256. For any other number K, the
rotation is trained with the largest power of two that is at most K and 256, and each
block of the rotated vectors gets a k-means with K centroids.

faiss takes a second to import, so ``Quantizer.fit`` imports this module when called.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.sids.threads import single_threaded_blas

logger = logging.getLogger(__name__)

MOST_FAISS_CODES = 256
"""Largest number of codes of faiss's product quantizers: one byte."""

RESIDUAL_ITERATIONS = 20
"""Iterations of each residual k-means, as in the release."""

PRODUCT_ITERATIONS = 25
"""Iterations of the k-means of each block: faiss's default."""


def train_product(
    x: NDArray[np.float32], digits: int, codes: int, *, seed: int, use_gpu: bool
) -> dict[str, NDArray[np.float32]]:
    """Train a rotation and the codebooks of L blocks, see the module.

    Args:
        x: (n, d) float32, the training items.
        digits: L, a divisor of d.
        codes: K, 2 to 65,536.
        seed: seed of every k-means (the release uses faiss's default, 1234). The
            rotation always starts from faiss's fixed random matrix.
        use_gpu: assign points to centroids on the GPUs.

    Returns:
        The arrays of a ``Product``, by name.
    """
    if codes <= MOST_FAISS_CODES and codes.bit_count() == 1:
        return take_apart(train_index(x, digits, codes, seed=seed, use_gpu=use_gpu))
    # Train the rotation alone, with the largest possible number of codes.
    bits = min(codes, MOST_FAISS_CODES).bit_length() - 1
    quantizer = faiss.ProductQuantizer(x.shape[1], digits, bits)
    transform: Any = faiss.OPQMatrix(x.shape[1], digits)
    transform.pq = quantizer
    with _k_means([quantizer], seed=seed, use_gpu=use_gpu):
        transform.train(np.ascontiguousarray(x))
    transform.pq = None  # Python frees it before the matrix lets go of it
    rotation = _matrix(transform)
    codebooks = [
        train_kmeans(
            block, codes, iterations=PRODUCT_ITERATIONS, seed=seed, use_gpu=use_gpu
        )
        for block in np.split(x @ rotation.T, digits, axis=1)
    ]
    return {"rotation": rotation, "codebooks": np.stack(codebooks)}


def train_kmeans(
    x: NDArray[np.float32], codes: int, *, iterations: int, seed: int, use_gpu: bool
) -> NDArray[np.float32]:
    """Train centroids (K, d) float32 of the rows of ``x`` (n, d)."""
    kmeans = faiss.Kmeans(
        x.shape[1],
        codes,
        niter=iterations,
        seed=seed,
        gpu=use_gpu,
        min_points_per_centroid=1,  # silences a warning; choose_codes logs one
    )
    kmeans.train(np.ascontiguousarray(x))
    centroids: Any = kmeans.centroids
    return np.asarray(centroids, dtype=np.float32)


def train_index(
    x: NDArray[np.float32], digits: int, codes: int, *, seed: int, use_gpu: bool
) -> Any:
    """Train the release's index, for K a power of two up to 256; see the module."""
    factory = f"OPQ{digits},IVF1,PQ{digits}x{codes.bit_length() - 1}"
    index = faiss.index_factory(x.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.do_polysemous_training = False  # see the module
    lists.cp.seed = seed
    lists.cp.min_points_per_centroid = 1  # only silences a warning
    # By default, faiss trains the rotation for 256 codes, whatever K is.
    transform, quantizer = _transform(index), lists.pq
    rotated = faiss.ProductQuantizer(lists.d, quantizer.M, quantizer.nbits)
    transform.pq = rotated
    with _k_means([quantizer, rotated], seed=seed, use_gpu=use_gpu):
        index.train(np.ascontiguousarray(x))
    transform.pq = None  # Python frees it before the index lets go of it
    return index


def take_apart(index: Any) -> dict[str, NDArray[np.float32]]:
    """Extract the arrays of a trained index, by their names in a ``Product``."""
    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    shape = (lists.pq.M, lists.pq.ksub, lists.pq.dsub)
    return {
        "rotation": _matrix(_transform(index)),
        "offset": lists.quantizer.reconstruct(0).copy(),
        "codebooks": np.array(faiss.vector_to_array(lists.pq.centroids).reshape(shape)),
    }


def gpu_available(device: Device) -> bool:
    """Test that faiss trains on GPUs: ``device`` allows it and there is one.

    Raises:
        SidiffError: the device is "cuda" and faiss sees no GPU.
    """
    if device == "cpu":
        return False
    found = int(faiss.get_num_gpus())
    if device == "cuda" and not found:
        raise SidiffError(
            "faiss sees no GPU; set tokenization.device to auto or cpu, or install "
            "faiss-gpu."
        )
    if found:
        logger.info("faiss assigns points to centroids on %d GPU(s)", found)
    return found > 0


@contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Run faiss on exactly ``threads`` OpenMP threads inside the block.

    BLAS threads inside OpenMP threads compete for cores and can triple the time of a
    k-means, so BLAS runs on one. (An OpenBLAS built on OpenMP, as in the faiss-gpu
    wheel, follows the OpenMP count, so it must be set last.)
    """
    before = faiss.omp_get_max_threads()
    with single_threaded_blas():
        faiss.omp_set_num_threads(threads)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(before)


@contextmanager
def _k_means(quantizers: list[Any], *, seed: int, use_gpu: bool) -> Iterator[None]:
    """Configure the k-means of product quantizers that are trained in the block."""
    for quantizer in quantizers:
        quantizer.cp.seed = seed
        quantizer.cp.min_points_per_centroid = 1  # only silences a warning
    if use_gpu:
        flat = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(quantizers[0].dsub))
        for quantizer in quantizers:
            quantizer.assign_index = flat
    yield
    for quantizer in quantizers:
        quantizer.assign_index = None  # Python frees it before they let go of it


def _transform(index: Any) -> Any:
    """Return the rotation of an index."""
    chain: Any = index.chain
    return faiss.downcast_VectorTransform(chain.at(0))


def _matrix(transform: Any) -> NDArray[np.float32]:
    size = (transform.d_out, transform.d_in)
    return np.array(faiss.vector_to_array(transform.A).reshape(size))
