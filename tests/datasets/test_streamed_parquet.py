from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version

from sidiff.datasets import StreamedParquet

FRAME = pl.DataFrame({"user_id": ["b", "a", "b"], "timestamp": [3, 1, 2]})


def table(folder: Path, version: Version | None = None) -> StreamedParquet:
    return StreamedParquet(str(folder / "interactions.parquet"), version)


def test_rows_come_back_in_their_order_unread(tmp_path: Path) -> None:
    table(tmp_path).save(FRAME.lazy())
    loaded = table(tmp_path).load()
    assert isinstance(loaded, pl.LazyFrame)
    assert loaded.collect().equals(FRAME)


def test_every_save_is_a_version(tmp_path: Path) -> None:
    for name, rows in (("2026-01-01", FRAME), ("2026-01-02", FRAME.head(1))):
        table(tmp_path, Version(None, name)).save(rows.lazy())
    assert table(tmp_path, Version(None, None)).load().collect().height == 1
    assert table(tmp_path, Version("2026-01-01", None)).load().collect().height == 3
    assert not table(tmp_path, Version("2026-01-03", None)).exists()


def test_a_failed_save_leaves_no_version(tmp_path: Path) -> None:
    broken = FRAME.lazy().with_columns(pl.col("user_id").cast(pl.Int64))
    with pytest.raises(DatasetError):
        table(tmp_path, Version(None, "2026-01-01")).save(broken)
    assert not table(tmp_path, Version("2026-01-01", None)).exists()


def test_the_preview_is_the_first_rows(tmp_path: Path) -> None:
    table(tmp_path).save(FRAME.lazy())
    assert table(tmp_path).preview(2) == {
        "index": [0, 1],
        "columns": ["user_id", "timestamp"],
        "data": [["b", 3], ["a", 1]],
    }
