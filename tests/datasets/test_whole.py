"""Versions that Kedro sees are whole, and are those that were written."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version, VersionNotFoundError
from matplotlib.figure import Figure

from sidiff.cli import find_problem
from sidiff.datasets.whole import FigureDataset, JsonDataset, PolarsDataset, TextFile
from sidiff.errors import SidiffError
from tests.test_files import small_disk

FRAME = pl.DataFrame({"a": [1, 2, 3], "b": [[1.0], [], [2.0, 3.0]]})


def frames(folder: Path, save: str | None = None) -> PolarsDataset:
    return PolarsDataset(
        filepath=(folder / "frame.parquet").as_posix(),
        file_format="parquet",
        version=Version(None, save),
    )


def figure() -> Figure:
    drawn = Figure()
    drawn.subplots().plot([1, 2], [3, 4])
    return drawn


@pytest.mark.parametrize(
    ("dataset", "name", "arguments", "data"),
    [
        (PolarsDataset, "x.parquet", {"file_format": "parquet"}, FRAME),
        (JsonDataset, "x.json", {"save_args": {"indent": 2}}, {"a": [1.5, None]}),
        (TextFile, "x.md", {}, "two\nlines\n"),
        (FigureDataset, "x.png", {"save_args": {"format": "png"}}, figure()),
    ],
)
def test_what_is_stored_comes_back_with_a_stamp(
    tmp_path: Path, dataset: Any, name: str, arguments: dict[str, Any], data: Any
) -> None:
    path = (tmp_path / name).as_posix()
    made = dataset(filepath=path, version=Version(None, "one"), **arguments)
    made.made_of = {"y": "0"}
    made.save(data)
    folder = tmp_path / name / "one"
    assert [file.name for file in folder.iterdir()] == [name]
    stamp = json.loads((tmp_path / name / "one.stamp.json").read_text())
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert stamp == {"sha256": digest, "made_of": {"y": "0"}}
    assert made.sha256 == digest
    if dataset is FigureDataset:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    else:
        found = made.load()
        assert found.equals(data) if isinstance(data, pl.DataFrame) else found == data
    if dataset is PolarsDataset:
        assert pl.read_parquet(folder).equals(data)
    with pytest.raises(DatasetError, match="must not exist"):
        made.save(data)


def test_a_damaged_version_is_refused(tmp_path: Path) -> None:
    frames(tmp_path, "one").save(FRAME)
    path = tmp_path / "frame.parquet" / "one" / "frame.parquet"
    content = bytearray(path.read_bytes())
    content[8] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        frames(tmp_path).load()
    assert "frame.parquet is damaged" in str(find_problem(caught.value))


def test_a_version_without_a_stamp(tmp_path: Path) -> None:
    frames(tmp_path, "one").save(FRAME)
    (tmp_path / "frame.parquet" / "one.stamp.json").unlink()
    assert frames(tmp_path).load().equals(FRAME)


def test_an_error_while_saving_makes_no_version(tmp_path: Path) -> None:
    path = (tmp_path / "x.json").as_posix()
    JsonDataset(filepath=path, version=Version(None, "one")).save({"a": 1})
    with pytest.raises(DatasetError, match="not JSON serializable"):
        JsonDataset(filepath=path, version=Version(None, "two")).save({"a": object()})
    latest = JsonDataset(filepath=path, version=Version(None, None))
    assert latest.list_versions(full_path=False) == ["one"]
    assert latest.load() == {"a": 1}


def test_a_full_disk_is_one_sentence_and_no_version(tmp_path: Path) -> None:
    frames(tmp_path, "one").save(FRAME)
    big = pl.DataFrame({"a": list(range(10_000))})
    with small_disk(), pytest.raises(DatasetError) as caught:
        frames(tmp_path, "two").save(big)
    problem = find_problem(caught.value)
    assert isinstance(problem, SidiffError)
    assert "cannot be written (File too large); free some space" in str(problem)
    assert frames(tmp_path).load().equals(FRAME)


def save_for_ever(folder: Path, ready: Event, number: int) -> None:
    big = pl.DataFrame({"a": list(range(300_000))})
    ready.set()
    for version in range(1000):
        frames(folder, f"{number:02}-{version:04}").save(big)


def test_killed_while_saving(tmp_path: Path) -> None:
    """Whatever a kill leaves, every version that Kedro lists can be read."""
    processes = multiprocessing.get_context("forkserver")
    chance = random.Random(0)
    halves = number = 0
    # At any moment, and then as often as it takes to hit the middle of a save.
    while number < 12 or (not halves and number < 200):
        ready = processes.Event()
        process = processes.Process(
            target=save_for_ever, args=(tmp_path, ready, number)
        )
        process.start()
        assert ready.wait(60)
        process.join(chance.uniform(0.01, 0.2))
        while number >= 12 and not list(tmp_path.glob("*/*/*.part")):
            assert process.is_alive()
        assert process.is_alive()
        process.kill()
        process.join()
        number += 1
        halves += len(list(tmp_path.glob("*/*/*.part")))
        try:
            versions = frames(tmp_path).list_versions(full_path=False)
        except VersionNotFoundError:
            continue
        for version in versions:
            stored = tmp_path / "frame.parquet" / version / "frame.parquet"
            assert len(pl.read_parquet(stored)) == 300_000, version
    assert halves, "no kill hit the middle of a save"
