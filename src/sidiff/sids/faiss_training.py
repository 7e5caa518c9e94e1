"""Training of quantizers with faiss; what leaves this module is plain arrays.

Product quantizers come from the factory string of DiffGRM's released code,
``OPQ4,IVF1,PQ4x8`` with inner product, under faiss's defaults: 50 iterations of the
rotation, 25 of each k-means. One inverted list means one coarse centroid, a constant
that is subtracted after the rotation. One default is left out: faiss ends by naming
the codes so that similar ones differ in few bits, which takes it a third of the time
and changes nothing but names.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sidiff.errors import SidiffError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.parameters import Device

logger = logging.getLogger(__name__)

KMEANS_ITERATIONS = 20
"""Iterations of each residual k-means, as in the release."""


class ProductCodebooks(NamedTuple):
    """A trained product quantizer of d dimensions, L digits, K codes.

    Attributes:
        rotation: (d, d) float32 applied as ``rotation @ x``; None without OPQ.
        offset: (d,) float32, subtracted after the rotation.
        codebooks: (L, K, d / L) float32.
    """

    rotation: NDArray[np.float32] | None
    offset: NDArray[np.float32]
    codebooks: NDArray[np.float32]


def train_product(
    x: NDArray[np.float32],
    digits: int,
    codes: int,
    *,
    rotate: bool,
    seed: int,
    use_gpu: bool,
) -> ProductCodebooks:
    """Train ``[OPQ{L},]IVF1,PQ{L}x{log2 K}`` and take it apart.

    Args:
        x: (n, d) float32, the training items.
        digits: L, a divisor of d.
        codes: K, a power of two.
        rotate: whether to learn a rotation (OPQ) first.
        seed: of every k-means; faiss's own, which the release keeps, is 1234. The
            rotation always starts from faiss's fixed random matrix.
        use_gpu: assign points to centroids on the GPUs.
    """
    index = _product_index(x.shape[1], digits, codes, rotate=rotate)
    _train_index(index, x, seed=seed, use_gpu=use_gpu)
    return _take_apart(index)


def train_kmeans(
    x: NDArray[np.float32], codes: int, *, seed: int, use_gpu: bool
) -> NDArray[np.float32]:
    """Centroids (K, d) float32 of the rows of ``x`` (n, d)."""
    import faiss  # noqa: PLC0415 (its import takes a second)

    kmeans = faiss.Kmeans(
        x.shape[1],
        codes,
        niter=KMEANS_ITERATIONS,
        seed=seed,
        gpu=use_gpu,
        min_points_per_centroid=1,  # choose_codes has said what there is to say
    )
    kmeans.train(np.ascontiguousarray(x))
    centroids: Any = kmeans.centroids
    return np.asarray(centroids, dtype=np.float32)


def gpu_wanted(device: Device) -> bool:
    """Whether faiss shall train on GPUs: allowed by ``device``, and present.

    Raises:
        SidiffError: "cuda" was asked for and faiss sees no GPU.
    """
    if device == "cpu":
        return False
    import faiss  # noqa: PLC0415

    found = int(faiss.get_num_gpus())
    if device == "cuda" and not found:
        raise SidiffError(
            "faiss sees no GPU; set tokenization.device to auto or cpu, or install "
            "faiss-gpu."
        )
    if found:
        logger.info("faiss assigns points to centroids on %d GPU(s)", found)
    return found > 0


def _product_index(dimensions: int, digits: int, codes: int, *, rotate: bool) -> Any:
    import faiss  # noqa: PLC0415

    bits = codes.bit_length() - 1
    factory = f"IVF1,PQ{digits}x{bits}"
    if rotate:
        factory = f"OPQ{digits}," + factory
    return faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)


def _train_index(
    index: Any, x: NDArray[np.float32], *, seed: int, use_gpu: bool
) -> None:
    import faiss  # noqa: PLC0415

    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.do_polysemous_training = False  # the names of the codes, see the module
    quantizers = [lists.pq]
    if (transform := _transform(index)) is not None:
        # Left to itself, faiss learns the rotation for 256 codes, whatever K is.
        quantizers.append(faiss.ProductQuantizer(lists.d, lists.pq.M, lists.pq.nbits))
        transform.pq = quantizers[-1]
    for parameters in (lists.cp, *(quantizer.cp for quantizer in quantizers)):
        parameters.seed = seed
        parameters.min_points_per_centroid = 1  # only silences a warning
    if use_gpu:
        flat = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(lists.pq.dsub))
        for quantizer in quantizers:
            quantizer.assign_index = flat
    index.train(np.ascontiguousarray(x))
    # Both lie in Python's hands and would be freed before the index lets go of them.
    if transform is not None:
        transform.pq = None
    for quantizer in quantizers:
        quantizer.assign_index = None


def _take_apart(index: Any) -> ProductCodebooks:
    import faiss  # noqa: PLC0415

    lists: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    quantizer = lists.pq
    rotation = None
    if (transform := _transform(index)) is not None:
        size = (transform.d_out, transform.d_in)
        rotation = faiss.vector_to_array(transform.A).reshape(size).copy()
    return ProductCodebooks(
        rotation=rotation,
        offset=lists.quantizer.reconstruct(0).copy(),
        codebooks=faiss.vector_to_array(quantizer.centroids)
        .reshape(quantizer.M, quantizer.ksub, quantizer.dsub)
        .copy(),
    )


def _transform(index: Any) -> Any:
    """The OPQ rotation of an index, or None."""
    import faiss  # noqa: PLC0415

    if not isinstance(index, faiss.IndexPreTransform):
        return None
    chain: Any = index.chain
    return faiss.downcast_VectorTransform(chain.at(0))
