"""Quantizers against faiss itself, against brute force, and over repeated runs."""

from __future__ import annotations

import logging

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids import faiss_training
from sidiff.sids.faiss_training import faiss_threads
from sidiff.sids.quantizers import QUANTIZERS, fit_quantizer
from sidiff.sids.quantizers.base import nearest
from sidiff.sids.quantizers.product import Product
from sidiff.sids.tokenizer import choose_codes
from tests.sids.conftest import Settings

Rows = NDArray[np.float32]


def stored_codes(index: faiss.IndexPreTransform, x: Rows) -> NDArray[np.uint8]:
    """The codes that faiss keeps in its only inverted list, in the order of ``x``."""
    index.add(x)
    ivf = faiss.downcast_index(faiss.extract_index_ivf(index))
    n, size = len(x), ivf.pq.code_size
    packed = faiss.rev_swig_ptr(ivf.invlists.get_codes(0), n * size).copy()
    ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(0), n).copy()
    codes = faiss.unpack_bitstrings(packed.reshape(n, size), ivf.pq.M, ivf.pq.nbits)
    return codes[np.argsort(ids)]


@pytest.mark.parametrize("codes", [2, 8, 32])
def test_codes_are_those_of_faiss(embeddings: Rows, codes: int) -> None:
    with faiss_threads(1):
        index = faiss_training.train_index(
            embeddings[:650], 4, codes, seed=1234, use_gpu=False
        )
    fitted = Product(**faiss_training.take_apart(index))

    ours = fitted.encode(embeddings)

    assert (ours == stored_codes(index, embeddings)).all()
    decoded = np.vstack([index.reconstruct(i) for i in _reachable(index, len(ours))])
    np.testing.assert_allclose(fitted.reconstruct(ours), decoded, atol=1e-5)


def _reachable(index: faiss.IndexPreTransform, n: int) -> range:
    faiss.extract_index_ivf(index).make_direct_map()
    return range(n)


def test_same_codes_as_the_release_but_for_their_names(
    embeddings: Rows, settings: Settings
) -> None:
    theirs = faiss.index_factory(24, "OPQ4,IVF1,PQ4x8", faiss.METRIC_INNER_PRODUCT)
    with faiss_threads(1):
        theirs.train(embeddings)

    ours = fit_quantizer(embeddings, settings(quantizer="opq"), 256)

    expected = stored_codes(theirs, embeddings)
    for mine, named in zip(ours.encode(embeddings).T, expected.T, strict=True):
        pairs = set(zip(mine.tolist(), named.tolist(), strict=True))
        assert len(pairs) == len(set(mine.tolist())) == len(set(named.tolist()))


def test_256_codes_are_the_very_codes_of_faiss(
    embeddings: Rows, settings: Settings
) -> None:
    theirs = faiss.index_factory(24, "OPQ4,IVF1,PQ4x8", faiss.METRIC_INNER_PRODUCT)
    faiss.downcast_index(faiss.extract_index_ivf(theirs)).do_polysemous_training = False
    with faiss_threads(1):
        theirs.train(embeddings)

    ours = fit_quantizer(embeddings, settings(quantizer="opq"), 256)

    assert (ours.encode(embeddings) == stored_codes(theirs, embeddings)).all()


def mean_error(x: Rows, settings: Settings, kind: str, codes: int) -> float:
    quantizer = fit_quantizer(x, settings(quantizer=kind, digits=8), codes)
    assert (quantizer.digits, quantizer.codebook_size) == (8, codes)
    rebuilt = quantizer.reconstruct(quantizer.encode(x))
    return float(((x - rebuilt) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_any_count_of_codes_fits_as_well_as_its_neighbours(
    embeddings: Rows, settings: Settings, kind: str
) -> None:
    counts = (2, 3, 8, 11, 16, 256, 300)
    errors = [mean_error(embeddings, settings, kind, codes) for codes in counts]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("codes", [11, 300])
def test_codes_of_any_count_are_the_nearest(
    embeddings: Rows, settings: Settings, codes: int
) -> None:
    quantizer = fit_quantizer(embeddings, settings(quantizer="opq", digits=8), codes)
    assert isinstance(quantizer, Product)
    assert quantizer.codebooks.shape == (8, codes, 3)
    rotated = embeddings.astype(np.float64) @ quantizer.rotation.T.astype(np.float64)
    ours = quantizer.encode(embeddings)
    for digit, codebook in enumerate(quantizer.codebooks):
        block = rotated[:, 3 * digit : 3 * digit + 3]
        distances = ((block[:, None] - codebook) ** 2).sum(axis=2)
        own = distances[np.arange(700), ours[:, digit]]
        assert (own <= distances.min(axis=1) + 1e-12).all()
    assert len(np.unique(ours)) == codes


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_same_input_same_codebooks(
    embeddings: Rows, settings: Settings, kind: str
) -> None:
    first, second = (
        fit_quantizer(embeddings, settings(quantizer=kind), codes=16) for _ in range(2)
    )
    assert (first.codebooks == second.codebooks).all()
    other = fit_quantizer(embeddings, settings(quantizer=kind, seed=7), codes=16)
    assert (first.codebooks != other.codebooks).any()


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_codes_reconstruct_their_vectors(
    embeddings: Rows, settings: Settings, kind: str
) -> None:
    quantizer = fit_quantizer(embeddings, settings(quantizer=kind), codes=16)
    codes = quantizer.encode(embeddings)
    assert codes.dtype == np.uint16
    assert codes.shape == (700, 4)
    assert (codes[5] == codes[8]).all()  # equal vectors

    error = ((embeddings - quantizer.reconstruct(codes)) ** 2).sum(axis=1)
    assert error.mean() < 0.6 * embeddings.var(axis=0).sum()
    # A quantizer is a projection: what it made has the codes that it was made of.
    assert (quantizer.encode(quantizer.reconstruct(codes)) == codes).mean() > 0.99


@pytest.mark.parametrize("codes", [8, 11])
def test_rotation_is_a_rotation(
    embeddings: Rows, settings: Settings, codes: int
) -> None:
    quantizer = fit_quantizer(embeddings, settings(), codes=codes)
    assert isinstance(quantizer, Product)
    rotation = quantizer.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(24), atol=1e-4)


@pytest.mark.parametrize(("digits", "size"), [(4, 8), (8, 300)])
def test_residual_digits_refine_each_other(
    embeddings: Rows, settings: Settings, digits: int, size: int
) -> None:
    parameters = settings(quantizer="rq_kmeans", digits=digits)
    quantizer = fit_quantizer(embeddings, parameters, size)
    codes = quantizer.encode(embeddings)
    left = embeddings.copy()
    for digit, codebook in enumerate(quantizer.codebooks):
        distances = ((left[:, None] - codebook) ** 2).sum(axis=2)
        assert (distances.argmin(axis=1) == codes[:, digit]).all()
        left -= codebook[codes[:, digit]]
    np.testing.assert_allclose(
        embeddings - left, quantizer.reconstruct(codes), atol=1e-6
    )


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_stored_and_read_back(embeddings: Rows, settings: Settings, kind: str) -> None:
    quantizer = fit_quantizer(embeddings, settings(quantizer=kind), codes=8)
    again = QUANTIZERS[kind](**quantizer.to_tensors())
    assert (again.digits, again.codebook_size, again.dimensions) == (4, 8, 24)
    assert (again.encode(embeddings) == quantizer.encode(embeddings)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 40))
def test_nearest_is_nearest(seed: int, dimensions: int, words: int) -> None:
    generator = np.random.default_rng(seed)
    # Small integers: exact arithmetic, many ties.
    x = generator.integers(-2, 3, size=(30, dimensions)).astype(np.float32)
    centroids = generator.integers(-2, 3, size=(words, dimensions)).astype(np.float32)
    distances = ((x[:, None] - centroids) ** 2).sum(axis=2)
    assert (nearest(x, centroids) == distances.argmin(axis=1)).all()


def test_nearest_works_in_chunks(
    embeddings: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nearest(embeddings, embeddings[:50])
    monkeypatch.setattr("sidiff.sids.quantizers.base.SCORES_AT_ONCE", 120)
    assert (nearest(embeddings, embeddings[:50]) == whole).all()


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_faiss_says_nothing(
    embeddings: Rows, settings: Settings, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fit_quantizer(embeddings[:300], settings(quantizer=kind), codes=256)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_as_many_codes_as_items_and_hardly_any(settings: Settings, kind: str) -> None:
    x = np.eye(16, dtype=np.float32)
    quantizer = fit_quantizer(x, settings(quantizer=kind), codes=16)
    np.testing.assert_allclose(quantizer.reconstruct(quantizer.encode(x)), x, atol=0.1)


def test_threads_of_the_caller_stay(embeddings: Rows, settings: Settings) -> None:
    before = faiss.omp_get_max_threads()
    fit_quantizer(embeddings, settings(quantizer="rq_kmeans", threads=2), codes=4)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize(
    ("n_train", "most", "codes"),
    [
        (12_061, 256, 256),  # Beauty
        (39 * 256, 256, 256),
        (39 * 256 - 1, 256, 128),
        (10**7, 256, 256),
        (12_061, 300, 300),
        (39 * 300, 300, 300),
        (39 * 300 - 1, 300, 256),
        (10**7, 300, 300),
        (800, 300, 16),
        (800, 20, 20),
        (78, 256, 2),
        (3, 256, 2),
    ],
)
def test_automatic_codes(
    settings: Settings,
    n_train: int,
    most: int,
    codes: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    assert (
        choose_codes(settings(codebook_size="auto", max_codebook_size=most), n_train)
        == codes
    )
    assert f"Codes per digit: {codes}" in caplog.text
    assert f"{n_train:,} training items" in caplog.text
    assert ("at least 39 per code" in caplog.text) == (n_train >= 39 * codes)


def test_more_codes_than_k_means_likes(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert choose_codes(settings(codebook_size="auto"), 39 * 4 - 1, least=4) == 4
    assert "the fewest for distinct SIDs" in caplog.text
    assert "at least" not in caplog.text


def test_codes_as_set(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert choose_codes(settings(codebook_size=300), 39 * 300) == 300
    assert choose_codes(settings(codebook_size=16), 39 * 16) == 16
    assert not caplog.text
    assert choose_codes(settings(codebook_size=16), 39 * 16 - 1) == 16
    assert "fewer than the 39 per code" in caplog.text
    with pytest.raises(SidiffError, match=r"are 15; lower tokenization\.codebook_size"):
        choose_codes(settings(codebook_size=16, quantizer="rq_kmeans"), 15)


def test_refusals(embeddings: Rows, settings: Settings) -> None:
    quantizer = fit_quantizer(embeddings, settings(), codes=8)
    with pytest.raises(SidiffError, match="expects 24 dimensions and got 8"):
        quantizer.encode(embeddings[:, :8])


def test_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    assert not faiss_training.gpu_available("auto")
    with pytest.raises(SidiffError, match="faiss sees no GPU"):
        faiss_training.gpu_available("cuda")
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    assert faiss_training.gpu_available("auto")
    assert not faiss_training.gpu_available("cpu")
