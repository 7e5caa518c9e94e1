"""When a stored table may grow: every change that forbids it, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.sids.extension import (
    check_settings,
    fit_settings,
    reason_to_refit,
    table_to_extend,
)
from sidiff.sids.table import SidTable
from tests.sids.conftest import Settings

CODES = np.array([[0, 1], [1, 0], [1, 1]], dtype=np.uint16)


def items(ids: str = "acd", prints: str = "ACD", held_out: str = "") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": list(ids),
            "embedding_sha256": list(prints),
            "held_out": [item in held_out for item in ids],
        }
    )


def stored(generation: list[int]) -> pl.DataFrame:
    table = SidTable(CODES, pl.Series(list("acd")), 2, np.array(generation))
    return table.to_frame().hstack(items().drop("item_id"))


@pytest.mark.parametrize(
    ("generation", "changes", "settings_now", "words"),
    [
        ([0, 0, 0], {}, {}, None),
        ([0, 0, 0], {}, {"device": "auto", "new_items": "refit"}, None),
        (
            [0, 0, 0],
            {},
            {"codebook_size": 4},
            "tokenization.codebook_size 8, which is now 4",
        ),
        ([0, 0, 0], {}, {"collisions": "repair"}, "tokenization.collisions share"),
        ([0, 0, 0], {"ids": "ac", "prints": "AC"}, {}, "1 of its items left"),
        ([0, 0, 0], {"prints": "AXX"}, {}, "encoder of 2 of its items"),
        ([0, 0, 0], {"held_out": "d"}, {}, "1 of its items went out of training"),
        # An item that came later shaped nothing; whether it trains is all the same.
        ([0, 0, 1], {"held_out": "d"}, {}, None),
        ([0, 0, 1], {}, {}, None),
        ([0, 0, 0], {"ids": "abcd", "prints": "ABCD"}, {}, None),
        ([0, 0, 0], {"ids": "abcd", "prints": "ABCD", "held_out": "b"}, {}, None),
        ([0, 0, 0], {"ids": "abcd", "prints": "ABXD"}, {}, "encoder of 1 of its items"),
    ],
)
def test_reasons(
    settings: Settings,
    generation: list[int],
    changes: dict[str, Any],
    settings_now: dict[str, Any],
    words: str | None,
) -> None:
    fitted_with = fit_settings(settings())
    reason = reason_to_refit(
        stored(generation), items(**changes), fitted_with, settings(**settings_now)
    )
    if words:
        assert reason is not None
        assert words in reason
    else:
        assert reason == words


def test_the_decision_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    frame, fitted_with = stored([0, 0, 0]), fit_settings(settings())

    def decide(ids: str, **changes: Any) -> SidTable | None:
        now = items(ids, ids.upper())
        return table_to_extend(frame, now, fitted_with, settings(**changes))

    extended = decide("abcde")
    assert extended is not None
    assert extended.fingerprint == SidTable.from_frame(frame).fingerprint
    assert "3 semantic IDs are kept; 2 new items join them" in caplog.text
    caplog.clear()
    assert decide("acd") is None  # nothing new: a fit gives the same
    assert decide("abcde", new_items="refit") is None
    assert table_to_extend(frame.clear(), items(), fitted_with, settings()) is None
    assert not caplog.text
    assert decide("abc") is None
    assert "not extended: 1 of its items left the catalogue" in caplog.text
    caplog.clear()
    assert table_to_extend(frame, items(), {}, settings()) is None
    assert "not extended: it was fitted with tokenization.quantizer None" in caplog.text


def test_other_settings_are_refused(settings: Settings) -> None:
    fitted_with = fit_settings(settings(digits=8))
    check_settings(fitted_with, settings(digits=8, device="auto"))
    with pytest.raises(SidiffError, match="digits 8, which is now 4; run kedro run"):
        check_settings(fitted_with, settings())
