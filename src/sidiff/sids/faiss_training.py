"""Training of quantizers with faiss; what leaves this module is plain arrays.

Product quantizers come from the factory string of DiffGRM's released code,
``OPQ4,IVF1,PQ4x8`` with inner product, under faiss's defaults: 50 iterations of the
rotation, 25 of each k-means. One inverted list means one coarse centroid, a constant
that is subtracted after the rotation. One default is left out: faiss ends by naming
the codes so that similar ones differ in few bits, which takes it a third of the time
and changes nothing but names.

faiss's product quantizers have 2^b codes. For any other count K, and for more than 256,
the rotation is learned with the largest power of two below K that is at most 256, and
each block of the rotated vectors gets a k-means of its own with K centroids.

Its import takes a second; ``Quantizer.fit`` imports this module when it is called.
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
"""Codes of faiss's product quantizers: one byte, as in DiffGRM's released code."""

RESIDUAL_ITERATIONS = 20
"""Iterations of each residual k-means, as in the release."""

PRODUCT_ITERATIONS = 25
"""Iterations of the k-means of each block, as faiss's own product quantizer has."""


def train_product(
    x: NDArray[np.float32], digits: int, codes: int, *, seed: int, use_gpu: bool
) -> dict[str, NDArray[np.float32]]:
    """Train a rotation and the codebooks of L blocks behind it, see the module.

    Args:
        x: (n, d) float32, the training items.
        digits: L, a divisor of d.
        codes: K, 2 to 65,536.
        seed: of every k-means; faiss's own, which the release keeps, is 1234. The
            rotation always starts from faiss's fixed random matrix.
        use_gpu: assign points to centroids on the GPUs.

    Returns:
        The arrays of a ``Product``, by name.
    """
    if codes <= MOST_FAISS_CODES and codes.bit_count() == 1:
        return take_apart(train_index(x, digits, codes, seed=seed, use_gpu=use_gpu))
    # The rotation of OPQ alone, for as many codes as faiss has up to K.
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
    """Centroids (K, d) float32 of the rows of ``x`` (n, d)."""
    kmeans = faiss.Kmeans(
        x.shape[1],
        codes,
        niter=iterations,
        seed=seed,
        gpu=use_gpu,
        min_points_per_centroid=1,  # choose_codes has said what there is to say
    )
    kmeans.train(np.ascontiguousarray(x))
    centroids: Any = kmeans.centroids
    return np.asarray(centroids, dtype=np.float32)


def train_index(
    x: NDArray[np.float32], digits: int, codes: int, *, seed: int, use_gpu: bool
) -> Any:
    """The release's index, for K a power of two up to 256; see ``train_product``."""
    factory = f"OPQ{digits},IVF1,PQ{digits}x{codes.bit_length() - 1}"
    index = faiss.index_factory(x.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.do_polysemous_training = False  # the names of the codes, see the module
    lists.cp.seed = seed
    lists.cp.min_points_per_centroid = 1  # only silences a warning
    # Left to itself, faiss learns the rotation for 256 codes, whatever K is.
    transform, quantizer = _transform(index), lists.pq
    rotated = faiss.ProductQuantizer(lists.d, quantizer.M, quantizer.nbits)
    transform.pq = rotated
    with _k_means([quantizer, rotated], seed=seed, use_gpu=use_gpu):
        index.train(np.ascontiguousarray(x))
    transform.pq = None  # Python frees it before the index lets go of it
    return index


def take_apart(index: Any) -> dict[str, NDArray[np.float32]]:
    """The arrays of a trained index, by their names in a ``Product``."""
    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    shape = (lists.pq.M, lists.pq.ksub, lists.pq.dsub)
    return {
        "rotation": _matrix(_transform(index)),
        "offset": lists.quantizer.reconstruct(0).copy(),
        "codebooks": np.array(faiss.vector_to_array(lists.pq.centroids).reshape(shape)),
    }


def gpu_available(device: Device) -> bool:
    """Test that faiss shall train on GPUs: allowed by ``device``, and present.

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

    BLAS threads inside OpenMP threads fight for the same cores and can triple the
    time of a k-means, so BLAS is held to one. (An OpenBLAS built on OpenMP, as in the
    faiss-gpu wheel, follows the OpenMP count instead and never nests: the order of
    the two settings matters.)
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
    """Settings of the k-means of faiss's product quantizers, trained in the block."""
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
    """The rotation of an index."""
    chain: Any = index.chain
    return faiss.downcast_VectorTransform(chain.at(0))


def _matrix(transform: Any) -> NDArray[np.float32]:
    size = (transform.d_out, transform.d_in)
    return np.array(faiss.vector_to_array(transform.A).reshape(size))
