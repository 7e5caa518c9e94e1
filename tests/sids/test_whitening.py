"""Whitening against scikit-learn, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from sidiff.errors import SidiffError
from sidiff.sids import whitening as module
from sidiff.sids.whitening import Whitening

Rows = NDArray[np.float32]


def test_same_as_scikit_learn(embeddings: Rows) -> None:
    train, everything = embeddings[:600], embeddings
    theirs = PCA(n_components=10, whiten=True, svd_solver="full")
    theirs.fit(train.astype(np.float64))

    ours = Whitening.fit(train, 10)

    np.testing.assert_allclose(ours.scale**2, theirs.explained_variance_, rtol=1e-5)
    expected = theirs.transform(everything.astype(np.float64))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    whitened = ours.apply(everything)
    assert whitened.dtype == np.float32
    # The sign of an axis is a matter of taste.
    np.testing.assert_allclose(np.abs(whitened), np.abs(expected), atol=1e-5)


def test_unit_length_and_the_mean_row(embeddings: Rows) -> None:
    whitening = Whitening.fit(embeddings, 12)
    lengths = np.linalg.norm(whitening.apply(embeddings), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    assert np.isfinite(whitening.apply(whitening.mean[None])).all()


def test_signs_are_settled(embeddings: Rows) -> None:
    components = Whitening.fit(embeddings, 12).components
    largest = np.abs(components).argmax(axis=1)
    assert (components[np.arange(12), largest] > 0).all()


def test_chunks_and_threads_change_nothing(
    embeddings: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Whitening.fit(embeddings, 12)
    monkeypatch.setattr(module, "CHUNK", 64)
    with threadpool_limits(2, user_api="blas"):
        pieces = Whitening.fit(embeddings, 12)
    np.testing.assert_allclose(pieces.components, whole.components, atol=1e-6)
    np.testing.assert_allclose(
        pieces.apply(embeddings), whole.apply(embeddings), atol=1e-5
    )


def test_stored_and_read_back(embeddings: Rows) -> None:
    whitening = Whitening.fit(embeddings, 12)
    again = Whitening(**whitening.to_tensors())
    assert (again.apply(embeddings) == whitening.apply(embeddings)).all()


def test_refusals(embeddings: Rows) -> None:
    with pytest.raises(SidiffError, match="10 training items are too few"):
        Whitening.fit(embeddings[:10], 10)
    with pytest.raises(SidiffError, match="have 24 dimensions; lower"):
        Whitening.fit(embeddings, 25)
    flat = embeddings.copy()
    flat[:, 7:] = 0
    with pytest.raises(SidiffError, match="span only 7 dimensions"):
        Whitening.fit(flat, 8)
    same = np.repeat(embeddings[:1], 40, axis=0)
    with pytest.raises(
        SidiffError, match=r"all 40 training items are the same, .*text"
    ):
        Whitening.fit(same, 8)
    with pytest.raises(SidiffError, match="expects 24 dimensions and got 7"):
        Whitening.fit(embeddings, 8).apply(embeddings[:, :7])
