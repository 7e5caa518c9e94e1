"""Collaborative item vectors, from co-occurrence in training histories.

Items that occur near each other in histories get similar vectors: a truncated SVD of
the positive pointwise mutual information (Levy and Goldberg, NeurIPS 2014, section 3).
They are joined to the text embeddings before whitening and quantization.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import svds

from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences, training_part
from sidiff.sids.settings import CollaborativeParameters
from sidiff.sids.threads import single_threaded_blas


def history_vectors(
    sequences: Sequences, parameters: CollaborativeParameters, seed: int
) -> NDArray[np.float32]:
    """Compute collaborative vectors of all items from the training part.

    Items without training interactions are not part of the factorisation, so adding
    such items to the catalogue does not change the other vectors.

    Args:
        sequences: sequences of all users.
        parameters: ``dimensions`` and ``window`` are used.
        seed: see ``collaborative_vectors``.

    Returns:
        (N, C) float32, unit length or zero.
    """
    items, users = training_part(sequences)
    bought, compact = np.unique(items, return_inverse=True)
    counts = co_occurrence(compact, users, len(bought), parameters.window)
    vectors = np.zeros((sequences.n_items, parameters.dimensions), dtype=np.float32)
    vectors[bought] = collaborative_vectors(counts, parameters.dimensions, seed)
    return vectors


def co_occurrence(
    items: NDArray[np.integer], users: NDArray[np.integer], n_items: int, window: int
) -> csr_array:
    """Count how often two items are at most ``window`` positions apart.

    Args:
        items: item indices of all training interactions, user by user, in time order.
        users: their users, of the same length.
        n_items: N.
        window: in interactions, at least 1.

    Returns:
        Symmetric (N, N) matrix; a pair d positions apart counts 1 / d; no diagonal.
    """
    total = coo_array((n_items, n_items)).tocsr()
    for distance in range(1, window + 1):
        left, right = items[:-distance], items[distance:]
        near = (users[:-distance] == users[distance:]) & (left != right)
        weights = np.full(int(near.sum()), 1.0 / distance)
        pairs = (weights, (left[near], right[near]))
        total = total + coo_array(pairs, shape=(n_items, n_items)).tocsr()
    return total + total.T


def collaborative_vectors(
    counts: csr_array, dimensions: int, seed: int
) -> NDArray[np.float32]:
    """Factorise the positive pointwise mutual information.

    Args:
        counts: symmetric (N, N) co-occurrence counts.
        dimensions: C, fewer than N.
        seed: seed of the start vector; it affects the last bits of the result only.

    Returns:
        (N, C) float32 of unit length; zero for an item without co-occurrences.

    Raises:
        SidiffError: there are too few items for the dimensions.
    """
    size = counts.shape[0]
    if dimensions >= size:
        raise SidiffError(
            f"The {size} items of the training histories are too few for {dimensions} "
            "factors; lower tokenization.collaborative.dimensions."
        )
    sums = np.asarray(counts.sum(axis=1)).ravel()
    pairs = counts.tocoo()
    rows, columns = pairs.coords
    information = np.log(pairs.data * sums.sum() / (sums[rows] * sums[columns]))
    pairs.data = np.maximum(information, 0.0)
    start = np.random.default_rng(seed).standard_normal(size)
    with single_threaded_blas():
        left, values, _ = svds(pairs.tocsr(), k=dimensions, v0=start)
    # The sign of a factor is arbitrary: its largest entry is made positive.
    largest = np.abs(left).argmax(axis=0)
    left = left * np.sign(left[largest, np.arange(dimensions)])
    vectors = (left * np.sqrt(values))[:, ::-1]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = lengths > np.finfo(np.float32).eps
    unit = np.where(known, vectors / np.where(known, lengths, 1.0), 0.0)
    return np.ascontiguousarray(unit, dtype=np.float32)


def fuse(
    text: NDArray[np.float32], collaborative: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """Concatenate text and collaborative vectors, (N, P + C) float32.

    Args:
        text: (N, P), unit length.
        collaborative: (N, C), unit length or zero.
        weight: share of the squared length that is collaborative, 0 to 1.
    """
    parts = (np.sqrt(1.0 - weight) * text, np.sqrt(weight) * collaborative)
    return np.concatenate(parts, axis=1).astype(np.float32)


def fused_fingerprints(
    text: pl.Series, collaborative: NDArray[np.float32]
) -> pl.Series:
    """Compute fingerprints of fused vectors: SHA-256 (hex) of both parts.

    Args:
        text: (N,) fingerprints of the text embeddings.
        collaborative: (N, C).
    """
    rows = np.ascontiguousarray(collaborative.astype("<f4"))
    fingerprints = [
        hashlib.sha256(own.encode() + row.tobytes()).hexdigest()
        for own, row in zip(text.to_list(), rows, strict=True)
    ]
    return pl.Series("fingerprint", fingerprints, dtype=pl.String)
