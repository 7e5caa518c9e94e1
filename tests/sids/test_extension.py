"""When a stored table may grow: every change that forbids it, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.sids.extension import Origin, reason_to_refit
from sidiff.sids.quantizers import Quantizer
from sidiff.sids.quantizers.residual import ResidualKMeans
from sidiff.sids.table import SidTable
from sidiff.sids.tokenizer import table_to_extend
from tests.sids.conftest import Settings

CODES = np.array([[0, 1], [1, 0], [1, 1]], dtype=np.uint16)
QUANTIZER = ResidualKMeans(codebooks=np.zeros((2, 2, 3), dtype=np.float32))
OTHER = ResidualKMeans(codebooks=np.ones((2, 2, 3), dtype=np.float32))


def origin(
    settings: Settings,
    ids: str = "acd",
    prints: str = "ACD",
    held_out: str = "",
    quantizer: Quantizer = QUANTIZER,
    **changes: Any,
) -> Origin:
    return Origin.of(
        settings(**changes),
        None,
        quantizer,
        pl.Series(list(ids)),
        pl.Series(list(prints)),
        np.array([item in held_out for item in ids]),
    )


def table_of(generation: list[int]) -> SidTable:
    return SidTable(CODES, pl.Series(list("acd")), 2, np.array(generation))


def test_attached_and_detached(settings: Settings) -> None:
    table = table_of([0, 1, 0])
    frame = origin(settings, held_out="c").attach(table)
    detached = Origin.detach(frame)
    assert detached is not None
    again, there = detached
    assert again.fingerprints() == table.fingerprints()
    assert there.items.rows() == [
        ("a", "A", False),
        ("c", "C", True),
        ("d", "D", False),
    ]
    assert reason_to_refit(again, there, origin(settings, held_out="c")) is None
    assert Origin.detach(frame.drop("fitted")) is None
    assert Origin.detach(frame.clear()) is None


@pytest.mark.parametrize(
    ("generation", "now", "words"),
    [
        ([0, 0, 0], {}, ""),  # nothing new: a fit gives the same
        ([0, 0, 0], {"device": "auto", "new_items": "refit"}, ""),
        ([0, 0, 0], {"codes": 4}, "settings"),
        ([0, 0, 0], {"collisions": "repair"}, "settings"),
        ([0, 0, 0], {"quantizer": OTHER}, "whitening and quantizer"),
        ([0, 0, 0], {"ids": "ac", "prints": "AC"}, "1 of its items left"),
        ([0, 0, 0], {"prints": "AXX"}, "encoder of 2 of its items"),
        ([0, 0, 0], {"held_out": "d"}, "1 of its items went out of training"),
        # An item that came later shaped nothing; whether it trains is all the same.
        ([0, 0, 1], {"held_out": "d"}, None),
        ([0, 0, 1], {}, None),
        ([0, 0, 0], {"ids": "abcd", "prints": "ABCD"}, None),
        ([0, 0, 0], {"ids": "abcd", "prints": "ABCD", "held_out": "b"}, None),
        ([0, 0, 0], {"ids": "abcd", "prints": "ABXD"}, "encoder of 1 of its items"),
    ],
)
def test_reasons(
    settings: Settings, generation: list[int], now: dict[str, Any], words: str | None
) -> None:
    current = dict(now)
    reason = reason_to_refit(
        table_of(generation), origin(settings), origin(settings, **current)
    )
    if words:
        assert reason is not None
        assert words in reason
    else:
        assert reason == words


def test_the_table_to_extend_is_said(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    table = table_of([0, 0, 0])
    frame = origin(settings).attach(table)

    def decide(ids: str, **changes: Any) -> str | None:
        return table_to_extend(
            frame,
            None,
            QUANTIZER,
            pl.Series(list(ids)),
            pl.Series(list(ids.upper())),
            np.zeros(len(ids), dtype=bool),
            settings(**changes),
        )

    assert decide("abcde") == table.fingerprint
    assert "3 semantic IDs are kept; 2 new items join them" in caplog.text
    caplog.clear()
    assert decide("acd") is None
    assert decide("abcde", new_items="refit") is None
    assert decide("abcde", quantizer="table", table="t.parquet") is None
    assert not caplog.text
    assert decide("abc") is None
    assert "not extended: 1 of its items left the catalogue" in caplog.text


def test_the_earlier_table_must_be_the_one_announced(settings: Settings) -> None:
    table = table_of([0, 0, 0])
    stored = origin(settings).attach(table)
    here = origin(settings)
    assert here.earlier(stored, None) is None
    found = here.earlier(stored, table.fingerprint)
    assert found is not None
    assert found.fingerprint == table.fingerprint
    for frame, current, extends in (
        (None, here, table.fingerprint),
        (stored, here, "another"),
        (stored, origin(settings, seed=1), table.fingerprint),
        (stored, origin(settings, quantizer=OTHER), table.fingerprint),
    ):
        with pytest.raises(SidiffError, match="--pipeline=tokenization as a whole"):
            current.earlier(frame, extends)
