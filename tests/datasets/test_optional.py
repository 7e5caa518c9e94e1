from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version

from sidiff.datasets import (
    Model,
    PreviousModel,
    PreviousVersion,
    SafetensorsDataset,
)

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


def model(path: Path) -> PreviousModel:
    return PreviousModel(str(path), version=Version(None, "new"))


def write_model(path: Path, version: str, value: float) -> Path:
    SafetensorsDataset(str(path), version=Version(None, version)).save(
        Model({"x": np.full(3, value)}, {"version": version})
    )
    return path / version / path.name


def test_the_latest_model_counts(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    dataset = model(path)
    assert dataset.exists()
    assert dataset.load() is None
    write_model(path, "2026-01-01", 1.0)
    write_model(path, "2026-01-02", 2.0)
    loaded = model(path).load()
    assert loaded is not None
    assert loaded.tensors["x"].tolist() == [2.0] * 3
    assert loaded.metadata == {"version": "2026-01-02"}


@pytest.mark.parametrize("spoil", ["weights", "stamp"])
def test_a_damaged_model_counts_as_none_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    path = tmp_path / "m.safetensors"
    file = write_model(path, "2026-01-01", 1.0)
    if spoil == "weights":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        stamp = file.parent.with_name("2026-01-01.stamp.json")
        stamp.write_text(json.dumps({"sha256": "0" * 64, "made_of": {}}))
    assert model(path).load() is None
    assert "m.safetensors" in caplog.text


def test_a_model_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="read-only"):
        model(tmp_path / "m.safetensors").save(Model({}, {}))  # type: ignore[arg-type]
