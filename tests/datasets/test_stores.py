"""The data sets behind an address keep what they promise on a disk."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import polars as pl
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version, VersionNotFoundError
from matplotlib.figure import Figure
from plotly import graph_objects as go

from sidiff.cli import find_problem
from sidiff.datasets import (
    Model,
    PreviousModel,
    PreviousVersion,
    RawFile,
    SafetensorsDataset,
    StreamedParquet,
    UnfinishedWork,
)
from sidiff.datasets.whole import (
    FigureDataset,
    InteractiveFigure,
    JsonDataset,
    PolarsDataset,
    TextFile,
)
from sidiff.snapshots import Snapshot
from sidiff.storage import StorageError, redacted
from tests.s3 import BUCKET, Store

FRAME = pl.DataFrame({"a": [3, 1, 2], "b": ["x", "y", "z"]})
MODEL = Model({"x": np.arange(3.0)}, {"kind": "pq"})


@dataclass(frozen=True)
class Place:
    """A folder of its own in a store.

    Attributes:
        address: of the folder.
        credentials: that a data set needs for it.
        files: the store as another process sees it.
    """

    address: str
    credentials: dict[str, Any]
    files: Any

    def names(self) -> list[str]:
        return sorted(name.rsplit("/", 1)[1] for name in self.files.find(self.address))


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        return Place(f"memory:///{uuid4()}", {}, fsspec.filesystem("memory"))
    store: Store = request.getfixturevalue("store")
    # fsspec remembers listings by default, as in a run.
    return Place(f"s3://{BUCKET}/{uuid4()}", store.credentials, store.files())


@pytest.fixture
def away() -> Place:
    """A store whose server does not answer."""
    credentials = {
        "key": "key",
        "secret": "secret",
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    return Place(f"s3://{BUCKET}/away", credentials, None)


def version(save: str | None, load: str | None = None) -> Version:
    return Version(load, save)


def frames(place: Place, given: Version) -> PolarsDataset:
    return PolarsDataset(
        filepath=f"{place.address}/f.parquet",
        file_format="parquet",
        version=given,
        credentials=place.credentials,
    )


def tables(place: Place, given: Version) -> StreamedParquet:
    return StreamedParquet(f"{place.address}/f.parquet", given, place.credentials)


def models(place: Place, given: Version) -> SafetensorsDataset:
    return SafetensorsDataset(
        f"{place.address}/m.safetensors", version=given, credentials=place.credentials
    )


def damage(place: Place, name: str, given: str) -> None:
    path = f"{place.address}/{name}/{given}/{name}"
    content = bytearray(place.files.cat_file(path))
    content[len(content) // 2] ^= 1
    place.files.pipe_file(path, bytes(content))


def figure() -> Figure:
    drawn = Figure()
    drawn.subplots().plot([1, 2], [3, 4])
    return drawn


@pytest.mark.parametrize(
    ("dataset", "name", "arguments", "data"),
    [
        (PolarsDataset, "x.parquet", {"file_format": "parquet"}, FRAME),
        (JsonDataset, "x.json", {}, {"a": [1.5, None]}),
        (
            TextFile,
            "x.md",
            {"fs_args": {"open_args_save": {"encoding": "utf-8"}}},
            "two\nlínes\n",
        ),
        (FigureDataset, "x.png", {"save_args": {"format": "png"}}, figure()),
        (InteractiveFigure, "x.json", {}, go.Figure(go.Scatter(x=[1, 2], y=[3, 5]))),
    ],
)
def test_what_is_stored_comes_back_with_a_stamp(
    place: Place, dataset: Any, name: str, arguments: dict[str, Any], data: Any
) -> None:
    made = dataset(
        filepath=f"{place.address}/{name}",
        version=version("one"),
        credentials=place.credentials,
        **arguments,
    )
    assert not made.exists()
    made.save(data)
    assert made.exists()
    assert place.names() == ["one.stamp.json", name]
    assert made.stored_address() == f"{place.address}/{name}/one/{name}"
    stored = place.files.cat_file(made.stored_address())
    with made.stored_file() as file:
        assert file.name == name
        assert file.read_bytes() == stored
    if dataset is FigureDataset:
        assert stored.startswith(b"\x89PNG")
    else:
        found = made.load()
        assert found.equals(data) if isinstance(data, pl.DataFrame) else found == data
    assert made.preview() if hasattr(made, "preview") else dataset is TextFile
    with pytest.raises(DatasetError, match="must not exist"):
        made.save(data)


def test_an_error_while_saving_makes_no_version(place: Place) -> None:
    """Closing the half-written object would upload it."""
    path = f"{place.address}/x.json"

    def json(given: Version) -> JsonDataset:
        return JsonDataset(filepath=path, version=given, credentials=place.credentials)

    json(version("one")).save({"a": 1})
    with pytest.raises(DatasetError, match="not JSON serializable"):
        json(version("two")).save({"a": 1, "b": object()})
    assert json(version(None)).list_versions(full_path=False) == ["one"]
    assert json(version(None)).load() == {"a": 1}


SAVE: list[tuple[Callable[[Place, Version], Any], Any]] = [
    (frames, FRAME),
    (tables, FRAME.lazy()),
    (models, MODEL),
]


@pytest.mark.parametrize(("dataset", "data"), SAVE)
def test_the_latest_version_is_seen_whoever_wrote_it(
    place: Place, dataset: Callable[[Place, Version], Any], data: Any
) -> None:
    with pytest.raises(VersionNotFoundError):
        dataset(place, version(None)).resolve_load_version()
    for name in ("2026-01-01", "2026-01-02"):
        dataset(place, version(name)).save(data)
    reader = dataset(place, version(None))
    assert reader.resolve_load_version() == "2026-01-02"
    assert reader.list_versions(full_path=False) == ["2026-01-02", "2026-01-01"]
    # Another process, after this one has listed the folder.
    folder = f"{place.address}/{'m.safetensors' if dataset is models else 'f.parquet'}"
    for path in place.files.find(f"{folder}/2026-01-02"):
        newer = path.replace("2026-01-02", "2026-01-03")
        place.files.pipe_file(newer, place.files.cat_file(path))
    assert dataset(place, version(None)).resolve_load_version() == "2026-01-03"
    dataset(place, version(None)).load()
    pinned = dataset(place, version(None, "2026-01-01"))
    assert pinned.exists()
    pinned.load()
    assert not dataset(place, version(None, "2026-01-04")).exists()


@pytest.mark.parametrize(("dataset", "data"), SAVE)
def test_a_damaged_object_is_refused(
    place: Place, dataset: Callable[[Place, Version], Any], data: Any
) -> None:
    if dataset is tables:  # A copy of the same content from elsewhere would do.
        data = data.with_columns(c=pl.lit(str(uuid4())))
    dataset(place, version("one")).save(data)
    name = "m.safetensors" if dataset is models else "f.parquet"
    damage(place, name, "one")
    with pytest.raises(DatasetError) as caught:
        dataset(place, version(None)).load()
    assert f"{place.address}/{name}/one/{name} is damaged" in str(
        find_problem(caught.value)
    )


def test_a_table_is_scanned_in_its_order_from_one_copy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables(place, version("one")).save(FRAME.lazy())
    first = tables(place, version(None)).load()
    assert isinstance(first, pl.LazyFrame)
    assert first.collect().equals(FRAME)

    def refuse(*_: Any) -> None:
        raise AssertionError("copied again")

    monkeypatch.setattr("sidiff.datasets.streamed_parquet.download", refuse)
    assert tables(place, version(None)).load().collect().equals(FRAME)
    # The next data set scans the first while it is written.
    other = StreamedParquet(
        f"{place.address}/g.parquet", version("one"), place.credentials
    )
    other.save(first.filter(pl.col("a") > 1))
    monkeypatch.undo()
    assert other.load().collect()["a"].to_list() == [3, 2]
    assert other.preview(1)["data"] == [[3, "x"]]


def test_a_failed_table_makes_no_version(place: Place) -> None:
    broken = FRAME.lazy().with_columns(pl.col("b").cast(pl.Int64))
    with pytest.raises(DatasetError):
        tables(place, version("one")).save(broken)
    assert place.names() == []


def test_a_model_comes_back(place: Place) -> None:
    models(place, version("one")).save(MODEL)
    loaded = models(place, version(None)).load()
    np.testing.assert_array_equal(loaded.tensors["x"], MODEL.tensors["x"])
    assert loaded.metadata == MODEL.metadata


def previous(
    place: Place, load: str | None = None
) -> tuple[PreviousVersion, PreviousModel]:
    given, credentials = version("new", load), place.credentials
    return (
        PreviousVersion(f"{place.address}/f.parquet", ["a"], given, credentials),
        PreviousModel(f"{place.address}/m.safetensors", given, credentials),
    )


def test_what_an_earlier_run_left(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    assert all(dataset.load() is None for dataset in previous(place))
    frames(place, version("one")).save(FRAME)
    models(place, version("one")).save(MODEL)
    table, model = (dataset.load() for dataset in previous(place))
    assert isinstance(table, pl.DataFrame)
    assert table.equals(FRAME)
    assert isinstance(model, Model)
    assert model.metadata == MODEL.metadata
    damage(place, "f.parquet", "one")
    damage(place, "m.safetensors", "one")
    assert all(dataset.load() is None for dataset in previous(place))
    assert caplog.text.count("is ignored") == 2


def test_a_store_that_is_away_is_not_an_empty_one(away: Place) -> None:
    """Or else everything fitted would be fitted anew."""
    # While the versions are listed, and while a known one is read.
    for dataset in (*previous(away), *previous(away, "one")):
        with pytest.raises(DatasetError) as caught:
            dataset.load()
        assert isinstance(find_problem(caught.value), StorageError)
    work = UnfinishedWork(f"{away.address}/work", away.credentials).load()
    for call in (work.names, lambda: work.read("one")):
        with pytest.raises(StorageError, match="cannot be reached"):
            call()


@pytest.mark.parametrize(("dataset", "data"), SAVE)
def test_a_store_that_refuses_is_one_sentence(
    away: Place,
    store: Store,
    dataset: Callable[[Place, Version], Any],
    data: Any,
) -> None:
    absent = Place("s3://no-such-bucket/p", store.credentials, None)
    for place in (away, absent):
        with pytest.raises(DatasetError) as caught:
            dataset(place, version("one")).save(data)
        assert f"{place.address}/" in str(find_problem(caught.value))
        assert "correct the address or the credentials" in str(
            find_problem(caught.value)
        )
        with pytest.raises(DatasetError) as caught:
            dataset(place, version(None)).load()
        assert isinstance(find_problem(caught.value), StorageError)
    pinned = dataset(away, version(None, "one"))
    for call in (pinned.load, pinned.exists):
        with pytest.raises(DatasetError) as caught:
            call()
        assert isinstance(find_problem(caught.value), StorageError)


def test_unfinished_work(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> Any:
        return UnfinishedWork(f"{place.address}/work", place.credentials).load()

    def snapshot(value: float) -> Snapshot:
        return Snapshot({"x": np.full(4, value)}, {"step": value})

    assert work().names() == []
    assert work().read("one") is None
    first = work()
    for value in (1.0, 2.0):
        first.write("one", snapshot(value))
    work().write("other", snapshot(3.0))
    assert work().names() == ["one", "other"]
    found = work().read("one")
    assert found.metadata == {"step": 2.0}
    assert found.arrays["x"].tolist() == [2.0] * 4
    first.clear()
    assert work().names() == ["other"]
    path = f"{place.address}/work/other.snapshot"
    place.files.pipe_file(path, place.files.cat_file(path)[:-1])
    assert work().read("other") is None
    assert "is damaged" in caplog.text
    assert place.names() == ["other.damaged"]
    first.clear()


def test_raw_files(place: Place, tmp_path: Path) -> None:
    def raw(name: str, url: str | None = None) -> RawFile:
        return RawFile(
            f"{place.address}/{name}", str(tmp_path / "c"), url, place.credentials
        )

    assert not raw("log.gz").exists()
    with pytest.raises(DatasetError) as caught:
        raw("log.gz").load()
    assert "log.gz cannot be read (FileNotFoundError" in str(find_problem(caught.value))
    raw("log.gz").save(["1", "2"])
    assert raw("log.gz").exists()
    (path,) = raw("log.gz").load()
    assert gzip.decompress(path.read_bytes()) == b"1\n2\n"
    place.files.pipe_file(f"{place.address}/logs/a.csv", b"1")
    assert [path.name for path in raw("logs").load()] == ["a.csv"]
    # Another process adds a file.
    place.files.pipe_file(f"{place.address}/logs/b.csv", b"2")
    assert [path.name for path in raw("logs/*.csv").load()] == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("s3://key:se/cr+et@host/b is absent", "s3://***@host/b is absent"),
        ("s3://key:with@sign@host/b", "s3://***@host/b"),
        ("'https://h/x?sig=a,b&c=1', 3", "'https://h/x?***', 3"),
        ("https://u:p@h/x.gz?X-Amz-Signature=ab.cd.", "https://***@h/x.gz?***."),
        ("s3://bucket/prefix, in /a/b? Mail a@b.c", None),
    ],
)
def test_secrets_of_an_address_are_not_shown(told: str, shown: str | None) -> None:
    assert redacted(told) == (shown or told)
