"""When a stored table may grow: every change that forbids it, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.sids.extension import (
    earlier_table,
    origin,
    reason_to_refit,
    table_to_extend,
)
from sidiff.sids.quantizers import Quantizer
from sidiff.sids.quantizers.residual import ResidualKMeans
from sidiff.sids.table import SidTable
from tests.sids.conftest import Settings

CODES = np.array([[0, 1], [1, 0], [1, 1]], dtype=np.uint16)
QUANTIZER = ResidualKMeans(codebooks=np.zeros((2, 2, 3), dtype=np.float32))
OTHER = ResidualKMeans(codebooks=np.ones((2, 2, 3), dtype=np.float32))


def now(
    settings: Settings,
    ids: str = "acd",
    prints: str = "ACD",
    held_out: str = "",
    quantizer: Quantizer = QUANTIZER,
    **changes: Any,
) -> pl.DataFrame:
    return origin(
        settings(**changes),
        None,
        quantizer,
        pl.Series(list(ids)),
        pl.Series(list(prints)),
        np.array([item in held_out for item in ids]),
    )


def stored(settings: Settings, generation: list[int], **given: Any) -> pl.DataFrame:
    table = SidTable(CODES, pl.Series(list("acd")), 2, np.array(generation))
    return table.to_frame().hstack(now(settings, **given).drop("item_id"))


def test_a_table_carries_its_origin(settings: Settings) -> None:
    frame = stored(settings, [0, 1, 0], held_out="c")
    assert frame.select("item_id", "embedding", "held_out").rows() == [
        ("a", "A", False),
        ("c", "C", True),
        ("d", "D", False),
    ]
    assert reason_to_refit(frame, now(settings, held_out="c")) is None
    here = now(settings, ids="abcd", prints="ABCD", held_out="c")
    assert table_to_extend(frame, here, settings()) is not None
    assert table_to_extend(frame.drop("fitted"), here, settings()) is None
    assert table_to_extend(frame.clear(), here, settings()) is None


@pytest.mark.parametrize(
    ("generation", "changes", "words"),
    [
        ([0, 0, 0], {}, ""),  # nothing new: a fit gives the same
        ([0, 0, 0], {"device": "auto", "new_items": "refit"}, ""),
        ([0, 0, 0], {"codebook_size": 4}, "settings"),
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
    settings: Settings,
    generation: list[int],
    changes: dict[str, Any],
    words: str | None,
) -> None:
    reason = reason_to_refit(stored(settings, generation), now(settings, **changes))
    if words:
        assert reason is not None
        assert words in reason
    else:
        assert reason == words


def test_the_table_to_extend_is_said(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    frame = stored(settings, [0, 0, 0])

    def decide(ids: str, **changes: Any) -> str | None:
        here = now(settings, ids, ids.upper())
        return table_to_extend(frame, here, settings(**changes))

    assert decide("abcde") == SidTable.from_frame(frame).fingerprint
    assert "3 semantic IDs are kept; 2 new items join them" in caplog.text
    caplog.clear()
    assert decide("acd") is None
    assert decide("abcde", new_items="refit") is None
    assert decide("abcde", quantizer="table", table="t.parquet") is None
    assert not caplog.text
    assert decide("abc") is None
    assert "not extended: 1 of its items left the catalogue" in caplog.text


def test_the_earlier_table_must_be_the_one_announced(settings: Settings) -> None:
    frame, here = stored(settings, [0, 0, 0]), now(settings)
    extends = SidTable.from_frame(frame).fingerprint
    assert earlier_table(frame, here, None) is None
    found = earlier_table(frame, here, extends)
    assert found is not None
    assert found.fingerprint == extends
    for there, current, wanted in (
        (None, here, extends),
        (frame, here, "another"),
        (frame, now(settings, seed=1), extends),
        (frame, now(settings, quantizer=OTHER), extends),
    ):
        with pytest.raises(SidiffError, match="--pipeline=tokenization as a whole"):
            earlier_table(there, current, wanted)
