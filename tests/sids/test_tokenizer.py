"""All kinds of quantizer through the same steps."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids import tokenizer
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable
from tests.sids.conftest import Settings

Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]
IDS = pl.Series([f"item{i}" for i in range(700)])


def run(
    embeddings: Rows, trained: Mask, parameters: TokenizationParameters
) -> tuple[SidTable, dict[str, float]]:
    fitted = tokenizer.fit(embeddings, trained, parameters)
    ids = IDS[: len(embeddings)]
    table = tokenizer.assign_sids(embeddings, ids, *fitted, parameters, None)
    return table, tokenizer.quantization_error(table, embeddings, *fitted, parameters)


@pytest.mark.parametrize("kind", ["opq", "rq_kmeans"])
def test_trained_kinds(
    embeddings: Rows, trained: Mask, settings: Settings, kind: str
) -> None:
    table, error = run(
        embeddings, trained, settings(quantizer=kind, codebook_size="auto")
    )
    assert (table.digits, table.codebook_size) == (4, 16)  # 665 items // 39 = 17
    assert table.groups().sid_of_item[5] == table.groups().sid_of_item[8]
    assert 0 < error["quantization_error_relative"] < 0.8
    again, _ = run(embeddings, trained, settings(quantizer=kind, codebook_size="auto"))
    assert again.fingerprint == table.fingerprint


@pytest.mark.parametrize("kind", ["opq", "rq_kmeans"])
def test_repair_of_trained_kinds(
    embeddings: Rows, trained: Mask, settings: Settings, kind: str
) -> None:
    shared, before = run(embeddings, trained, settings(quantizer=kind))
    table, after = run(
        embeddings, trained, settings(quantizer=kind, collisions="repair")
    )
    assert len(shared.groups().sizes) < 700
    assert len(table.groups().sizes) == 700
    assert after["moved_items"] == 700 - len(shared.groups().sizes)
    assert (table.codes != shared.codes).any(axis=1).sum() == after["moved_items"]
    assert after["quantization_error_added"] > 0
    assert after["quantization_error"] == pytest.approx(
        before["quantization_error"] * (1 + after["quantization_error_added"])
    )


@pytest.mark.parametrize("kind", ["opq", "rq_kmeans"])
@pytest.mark.parametrize("collisions", ["share", "repair"])
def test_new_items_leave_the_old_ones_alone(
    embeddings: Rows, trained: Mask, settings: Settings, kind: str, collisions: str
) -> None:
    """Two extensions, by items at the front and in between."""
    parameters = settings(quantizer=kind, codebook_size=32, collisions=collisions)
    fitted = tokenizer.fit(embeddings, trained, parameters)
    place = np.arange(700) % 7
    tables: list[SidTable] = []
    for last, there in enumerate((place >= 3, place >= 1, place >= 0)):
        ids = IDS.filter(pl.Series(there))
        x = embeddings[there]
        earlier = tables[-1] if tables else None
        table = tokenizer.assign_sids(x, ids, *fitted, parameters, earlier)
        tokenizer.quantization_error(table, x, *fitted, parameters)
        if earlier is not None:
            again = dict(zip(ids.to_list(), table.codes.tolist(), strict=True))
            kept = [again[item] for item in earlier.item_ids.to_list()]
            assert kept == earlier.codes.tolist()
        tables.append(table)
        assert table.fingerprints() == [before.fingerprint for before in tables]
        assert int(table.generation.max()) == last
        if collisions != "share":
            assert len(table.groups().sizes) == len(ids)
    assert tables[-1].generation.tolist() == [
        2 if row == 0 else 1 if row < 3 else 0 for row in place.tolist()
    ]


@pytest.mark.parametrize("kind", ["opq", "rq_kmeans"])
def test_items_out_of_training_shape_nothing(
    embeddings: Rows, trained: Mask, settings: Settings, kind: str
) -> None:
    before, _ = run(embeddings, trained, settings(quantizer=kind))
    changed = embeddings.copy()
    changed[~trained] = changed[~trained][::-1]
    after, _ = run(changed, trained, settings(quantizer=kind))
    assert (before.codes[trained] == after.codes[trained]).all()
    assert (before.codes[~trained] == after.codes[~trained][::-1]).all()


def test_error_is_the_mean_squared_distance(
    embeddings: Rows, trained: Mask, settings: Settings
) -> None:
    parameters = settings(quantizer="rq_kmeans")
    _, quantizer = tokenizer.fit(embeddings, trained, parameters)
    table, error = run(embeddings, trained, parameters)
    vectors = zip(embeddings, quantizer.reconstruct(table.codes), strict=True)
    distances = [float(((x - y) ** 2).sum()) for x, y in vectors]
    assert error["quantization_error"] == pytest.approx(np.mean(distances), rel=1e-5)
    spread = ((embeddings - embeddings.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert error["quantization_error_relative"] == pytest.approx(
        np.mean(distances) / spread, rel=1e-4
    )


def test_more_codes_than_items(
    embeddings: Rows, trained: Mask, settings: Settings
) -> None:
    with pytest.raises(SidiffError, match=r"lower tokenization\.codebook_size"):
        run(
            embeddings[:30],
            trained[:30],
            settings(quantizer="rq_kmeans", codebook_size=64),
        )


def test_too_few_possible_ids_are_said(
    embeddings: Rows,
    trained: Mask,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(embeddings, trained, settings(quantizer="opq", codebook_size=2))
    assert "semantic IDs are possible for 700 items" in caplog.text
    caplog.clear()
    run(embeddings, trained, settings(quantizer="opq", codebook_size=16))
    assert "are possible" not in caplog.text
