from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version

from sidiff.datasets import PreviousVersion

FRAME = pl.DataFrame({"item_id": ["a"], "embedding": [1.0]})


def previous(path: Path) -> PreviousVersion:
    return PreviousVersion(
        str(path), columns=["item_id", "embedding"], version=Version(None, "new")
    )


def write(path: Path, version: str, frame: pl.DataFrame) -> Path:
    file = path / version / path.name
    file.parent.mkdir(parents=True)
    frame.write_parquet(file)
    return file


def test_nothing_before_the_first_run(tmp_path: Path) -> None:
    dataset = previous(tmp_path / "e.parquet")
    assert dataset.exists()  # an empty memory is no missing input
    assert dataset.load() is None


def test_the_latest_version_counts(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    write(path, "2026-01-02", FRAME)
    write(path, "2026-01-01", FRAME.with_columns(item_id=pl.lit("old")))
    loaded = previous(path).load()
    assert loaded is not None
    assert loaded.equals(FRAME)


def test_another_schema_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    write(path, "2026-01-01", FRAME.drop("embedding"))
    assert previous(path).load() is None


def test_a_damaged_file_counts_as_none_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "e.parquet"
    write(path, "2026-01-01", FRAME).write_bytes(b"PAR1 and no more")
    assert previous(path).load() is None
    assert "e.parquet" in caplog.text


def test_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="read-only"):
        previous(tmp_path / "e.parquet").save(FRAME)  # type: ignore[arg-type]
