from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from kedro.io.core import DatasetError, Version

from sidiff.datasets import PartitionedParquet
from sidiff.folders import MANIFEST

from ..s3 import BUCKET, Store

PARTS = [("part-0", pl.DataFrame({"a": [1, 2]})), ("part-1", pl.DataFrame({"a": [3]}))]


def table(
    place: str, save: str = "v1", store: Store | None = None
) -> PartitionedParquet:
    credentials = None if store is None else store.credentials
    return PartitionedParquet(place, Version(None, save), credentials)


def broken() -> Iterator[tuple[str, pl.DataFrame]]:
    yield PARTS[0]
    raise RuntimeError("killed")


def test_parts_come_back_as_one_table(tmp_path: Path) -> None:
    place = f"{tmp_path}/lists"
    assert not table(place).exists()
    table(place).save(iter(PARTS))
    assert table(place).load().collect()["a"].to_list() == [1, 2, 3]
    table(place, "v2").save(iter(PARTS[1:]))
    assert table(place).load().collect()["a"].to_list() == [3]
    with pytest.raises(Exception, match="a version is written once"):
        table(place).save(iter(PARTS))


def test_what_was_cut_off_is_no_version(tmp_path: Path) -> None:
    place = f"{tmp_path}/lists"
    table(place).save(iter(PARTS))
    with pytest.raises(Exception, match="killed"):
        table(place, "v2").save(broken())
    # What a kill would leave.
    left = tmp_path / "lists" / "v3" / "lists"
    left.mkdir(parents=True)
    PARTS[0][1].write_parquet(left / "part-0.parquet")
    assert table(place).load().collect()["a"].to_list() == [1, 2, 3]


def test_a_damaged_part_is_told(tmp_path: Path) -> None:
    place = f"{tmp_path}/lists"
    table(place).save(iter(PARTS))
    part = tmp_path / "lists" / "v1" / "lists" / "part-1.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"part-1\.parquet is damaged"):
        table(place).load()


def test_an_object_store_holds_them_too(store: Store) -> None:
    place = f"s3://{BUCKET}/folders/lists"
    table(place, store=store).save(iter(PARTS))
    assert table(place, store=store).load().collect()["a"].to_list() == [1, 2, 3]
    files = table(place, store=store)._fs
    files.rm_file(f"{place}/v1/lists/{MANIFEST}")
    assert not table(place, store=store).exists()
