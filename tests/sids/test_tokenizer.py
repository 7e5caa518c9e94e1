"""All kinds of quantizer through the same four steps."""

from __future__ import annotations

from pathlib import Path

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
    """The stage, with everything stored and read back on the way."""
    whitening = tokenizer.learn_whitening(embeddings, trained, parameters)
    whitening = tokenizer.unpack_whitening(*tokenizer.pack(whitening))
    quantizer = tokenizer.learn_quantizer(embeddings, trained, whitening, parameters)
    quantizer = tokenizer.unpack_quantizer(*tokenizer.pack(quantizer))
    table = tokenizer.assign_sids(
        embeddings,
        trained,
        IDS[: len(embeddings)],
        whitening,
        quantizer,
        parameters,
        None,
    )
    error = tokenizer.quantization_error(
        table, embeddings, whitening, quantizer, parameters
    )
    return table, error


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


@pytest.mark.parametrize("kind", ["opq", "rq_kmeans", "random"])
@pytest.mark.parametrize("collisions", ["share", "repair"])
def test_new_items_leave_the_old_ones_alone(
    embeddings: Rows, trained: Mask, settings: Settings, kind: str, collisions: str
) -> None:
    """Two extensions, by items at the front and in between."""
    parameters = settings(quantizer=kind, codebook_size=32, collisions=collisions)
    whitening = tokenizer.learn_whitening(embeddings, trained, parameters)
    quantizer = tokenizer.learn_quantizer(embeddings, trained, whitening, parameters)
    place = np.arange(700) % 7
    tables: list[SidTable] = []
    for last, there in enumerate((place >= 3, place >= 1, place >= 0)):
        ids = IDS.filter(pl.Series(there))
        x, own = embeddings[there], trained[there]
        earlier = tables[-1] if tables else None
        table = tokenizer.assign_sids(
            x, own, ids, whitening, quantizer, parameters, earlier
        )
        tokenizer.quantization_error(table, x, whitening, quantizer, parameters)
        tables.append(table)
        assert table.fingerprints() == [before.fingerprint for before in tables]
        assert int(table.generation.max()) == last
        if collisions != "share":
            assert len(table.groups().sizes) == len(ids)
    assert tables[-1].generation.tolist() == [
        2 if row == 0 else 1 if row < 3 else 0 for row in place.tolist()
    ]


def test_an_item_of_the_earlier_table_must_be_there(
    embeddings: Rows, trained: Mask, settings: Settings
) -> None:
    parameters = settings(quantizer="random")
    table, _ = run(embeddings, trained, parameters)
    with pytest.raises(
        SidiffError, match=r"1 items of SID table \w{12}, which is to be"
    ):
        tokenizer.assign_sids(
            embeddings[1:], trained[1:], IDS[1:], None, None, parameters, table
        )


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
    quantizer = tokenizer.learn_quantizer(embeddings, trained, None, parameters)
    assert quantizer is not None
    table, error = run(embeddings, trained, parameters)
    vectors = zip(embeddings, quantizer.reconstruct(table.codes), strict=True)
    distances = [float(((x - y) ** 2).sum()) for x, y in vectors]
    assert error["quantization_error"] == pytest.approx(np.mean(distances), rel=1e-5)
    spread = ((embeddings - embeddings.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert error["quantization_error_relative"] == pytest.approx(
        np.mean(distances) / spread, rel=1e-4
    )


def test_random_kind(embeddings: Rows, trained: Mask, settings: Settings) -> None:
    table, error = run(
        embeddings, trained, settings(quantizer="random", codebook_size="auto")
    )
    assert table.codebook_size == 16
    assert error == {}
    other, _ = run(
        embeddings, trained, settings(quantizer="random", codebook_size=16, seed=9)
    )
    assert other.fingerprint != table.fingerprint


def test_table_kind(
    embeddings: Rows, trained: Mask, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "mine.parquet"
    codes = np.arange(700) % 10
    pl.DataFrame({"item_id": IDS, "code_0": codes}).write_parquet(path)
    parameters = settings(
        quantizer="table", digits=1, codebook_size="auto", table=str(path)
    )
    table, error = run(embeddings, trained, parameters)
    assert table.codes[:, 0].tolist() == codes.tolist()
    assert table.codebook_size == 10
    assert error == {}


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
