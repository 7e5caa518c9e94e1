from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.pipelines.recommend.nodes import recommend
from sidiff.serving import Bundle, Recommender
from sidiff.serving.histories import HistoryRows, Parts, own_histories
from sidiff.snapshots import SnapshotFolder

from ..pipelines.stored_shops import StoredShop
from ..settings import model

COLUMNS = model("ingestion").interactions


def log_of(rows: list[tuple[str, str | None, int]]) -> pl.LazyFrame:
    """Rows of user, item and time, two ticks to the second."""
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    log = pl.LazyFrame(rows, schema, orient="row")
    tick = pl.col("timestamp")
    return log.with_columns(tick // 2, microsecond=(tick % 2).cast(pl.Int32) * 500_000)


def users_of(parts: Parts) -> dict[str, list[str]]:
    frames = [frame for _, frame in parts]
    users = pl.concat(frames)
    assert users["user_id"].is_unique().all()
    return dict(zip(users["user_id"], users["items"].to_list(), strict=True))


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"), st.sampled_from("xyz"), st.integers(0, 3)
        ),
        min_size=1,
        max_size=60,
    ),
    size=st.integers(1, 9),
    tie_break=st.sampled_from(["item_id", "file_order"]),
    merge=st.sampled_from([None, 0, 1]),
)
@examples(max_examples=40)
def test_parts_hold_every_users_items_in_order(
    rows: list[tuple[str, str, int]],
    size: int,
    tie_break: Any,
    merge: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    parts = Parts(HistoryRows(log_of(rows)), folder, size, tie_break, merge)
    wanted: dict[str, list[str]] = defaultdict(list)
    order = sorted(
        enumerate(rows),
        key=lambda row: (
            row[1][2],
            row[1][1] if tie_break == "item_id" else "",
            row[0],
        ),
    )
    last: dict[tuple[str, str], int] = {}
    for _, (user, item, time) in order:
        before = last.get((user, item))
        if merge is None or before is None or time // 2 - before > merge:
            wanted[user].append(item)
        last[user, item] = time // 2
    assert users_of(parts) == wanted


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "json text"])
def test_a_row_for_every_user(tmp_path: Path, form: str) -> None:
    users = {"a": ["3", "1", "3"], "b": [], "c": ["née", "2"]}
    ids = list(users)
    if form == "parquet":
        path = tmp_path / "t.parquet"
        pl.DataFrame({"user_id": ids, "items": list(users.values())}).write_parquet(
            path
        )
    elif form == "jsonl":
        path = tmp_path / "t.jsonl"
        lines = [{"user_id": u, "items": items} for u, items in users.items()]
        path.write_text("\n".join(json.dumps(line) for line in lines))
    else:
        path = tmp_path / "t.csv"
        texts = [
            json.dumps(items) if form == "json text" else " ".join(items)
            for items in users.values()
        ]
        pl.DataFrame({"user_id": ids, "items": texts}).write_csv(path)
    histories = own_histories(path, COLUMNS)
    folder = tmp_path / "parts"
    assert users_of(Parts(histories, folder, 2, "file_order", 10)) == users
    assert histories.set_aside == 0


def test_what_is_no_list_of_ids_is_set_aside_and_counted(tmp_path: Path) -> None:
    texts = {
        "plain": "A B",
        "open": "[A",
        "mixed": "[x] B",
        "json": '["A", "B"]',
        "numbers": "[1, 2]",
        "nested": '[["A"]]',
        "empty": "[]",
        "none": None,
    }
    wanted = {
        **{"plain": ["A", "B"], "json": ["A", "B"], "numbers": ["1", "2"]},
        **{"empty": [], "none": []},
    }
    path = tmp_path / "t.csv"
    pl.DataFrame({"user_id": [*texts], "items": [*texts.values()]}).write_csv(path)
    lines = tmp_path / "t.jsonl"
    lines.write_text(
        "\n".join(json.dumps({"user_id": u, "items": t}) for u, t in texts.items())
    )
    for number, file in enumerate((path, lines)):
        histories = own_histories(file, COLUMNS)
        assert histories.set_aside == 3
        parts = Parts(histories, tmp_path / f"{number}", 9, "file_order", 10)
        assert users_of(parts) == wanted
    lines.write_text('{"user_id": "u", "items": [{"id": 1}]}\n')
    assert own_histories(lines, COLUMNS).set_aside == 1


def test_a_column_that_holds_no_ids_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    fixed = pl.Array(pl.String, 2)
    for items, dtype in (([[["A"]]], None), ([{"a": 1}], None), ([["A", "B"]], fixed)):
        pl.DataFrame({"user_id": ["u"], "items": pl.Series(items, dtype=dtype)}).pipe(
            pl.DataFrame.write_parquet, path
        )
        if dtype is None:
            with pytest.raises(SidiffError, match="give lists of item ids"):
                own_histories(path, COLUMNS)
            continue
        parts = Parts(
            own_histories(path, COLUMNS), tmp_path / "p", 9, "file_order", None
        )
        assert users_of(parts) == {"u": ["A", "B"]}


def test_a_row_for_every_interaction(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,timestamp\na,2,1700000002\na,1,1700000001\n,9,1700000001\n"
        "b,7,1700000001\n"
    )
    histories = own_histories(path, COLUMNS)
    assert histories.set_aside == 1
    parts = Parts(histories, tmp_path / "parts", 10, "item_id", None)
    assert users_of(parts) == {"a": ["1", "2"], "b": ["7"]}


def test_a_table_of_neither_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who,items\na,1\n")
    with pytest.raises(SidiffError, match="no column user_id"):
        own_histories(path, COLUMNS)
    path.write_text("user_id,bought\na,1\n")
    with pytest.raises(SidiffError, match="item_id"):
        own_histories(path, COLUMNS)
    with pytest.raises(SidiffError, match="no user"):
        Parts(HistoryRows(log_of([])), tmp_path / "p", 10, "item_id", None)


def log_with_a_stranger(shop: StoredShop) -> pl.LazyFrame:
    """The log with a user whom the k-core left out."""
    row = shop.interactions.head(1).with_columns(user_id=pl.lit("stranger"))
    return pl.concat([shop.interactions, row])


def lists(
    shop: StoredShop, bundle: Bundle, unfinished: SnapshotFolder, **changes: Any
) -> Any:
    return recommend(
        bundle,
        log_with_a_stranger(shop),
        shop.ingestion_report,
        unfinished,
        model("recommend", changes),
        model("ingestion"),
        model("filtering"),
    )


@pytest.fixture(scope="module")
def read(folder: Path) -> Bundle:
    return Bundle.read(folder)


def sorted_rows(parts: list[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    return pl.concat([frame for _, frame in parts]).sort("user_id", "rank")


def test_lists_of_a_whole_log(
    shop: StoredShop, read: Bundle, recommender: Recommender, tmp_path: Path
) -> None:
    made = list(lists(shop, read, SnapshotFolder(tmp_path / "a"), users_per_part=17))
    assert len(made) == 5
    whole = sorted_rows(made)
    log = log_with_a_stranger(shop).collect()
    assert set(log["user_id"]) - set(shop.sequences["user_id"]) == {"stranger"}
    log = log.sort("timestamp", "item_id", maintain_order=True)
    assert set(whole["user_id"]) == set(log["user_id"])
    for (user,), rows in log.group_by("user_id"):
        history = rows["item_id"].to_list()
        own = whole.filter(user_id=user)
        assert not set(own["item_id"]) & set(history)
        wanted = recommender.recommend(history, 10)
        assert own["item_id"].to_list() == [item.item_id for item in wanted]
        assert own["score"].to_list() == [item.score for item in wanted]
        assert own["rank"].to_list() == list(range(1, len(wanted) + 1))
    # The same lists whatever the size of the parts.
    for size in (1, 1000):
        unfinished = SnapshotFolder(tmp_path / str(size))
        again = list(lists(shop, read, unfinished, users_per_part=size))
        assert len(again) > 17 if size == 1 else len(again) == 1
        assert sorted_rows(again).equals(whole)


def test_a_run_that_was_cut_off_goes_on(
    shop: StoredShop,
    read: Bundle,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = list(lists(shop, read, SnapshotFolder(tmp_path / "w"), users_per_part=20))
    unfinished = SnapshotFolder(tmp_path / "unfinished")
    cut = lists(shop, read, unfinished, users_per_part=20)
    next(cut), next(cut)
    cut.close()
    made: list[int] = []
    original = Recommender.lists

    def counted(
        self: Recommender, histories: pl.Series, *rest: Any, **more: Any
    ) -> Any:
        made.append(len(histories))
        return original(self, histories, *rest, **more)

    monkeypatch.setattr(Recommender, "lists", counted)
    with caplog.at_level("INFO"):
        again = list(lists(shop, read, unfinished, users_per_part=20))
    assert "2 parts are those of an earlier run" in caplog.text
    assert len(made) == len(whole) - 2
    for (name, frame), (other, wanted) in zip(again, whole, strict=True):
        assert name == other
        assert frame.equals(wanted)
    # Lists of another length are other work.
    longer = list(lists(shop, read, unfinished, users_per_part=20, top_k=3))
    assert longer[0][1]["rank"].max() == 3


def test_own_histories_allow_and_deny(
    shop: StoredShop, read: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = shop.catalogue["item_id"].to_list()
    table, allow, deny = tmp_path / "t.csv", tmp_path / "allow", tmp_path / "deny"
    table.write_text(f"user_id,items\nme,{ids[0]} nope {ids[50]}\nnew,\n")
    allow.write_text("\n".join(ids[:9]))
    deny.write_text(ids[1])
    made = lists(
        shop,
        read,
        SnapshotFolder(tmp_path / "u"),
        histories=str(table),
        allow_items=str(allow),
        deny_items=str(deny),
        top_k=100,
    )
    frame = sorted_rows(list(made))
    mine = frame.filter(user_id="me")
    assert set(mine["item_id"]) == set(ids[2:9])
    new = frame.filter(user_id="new")
    assert set(new["item_id"]) == {ids[0], *ids[2:9]}
    assert set(new["method"]) == {"popular"}
    deny.write_text("\n".join(ids))
    with pytest.raises(SidiffError, match="leave no item"):
        list(lists(shop, read, SnapshotFolder(tmp_path / "v"), deny_items=str(deny)))
    assert "1 ids in the histories are not in the catalogue" in caplog.text
    assert "1 users have no item" in caplog.text


def test_scores_fall_along_a_list(
    shop: StoredShop, read: Bundle, tmp_path: Path
) -> None:
    (part,) = lists(shop, read, SnapshotFolder(tmp_path / "u"))
    for _, rows in part[1].group_by("user_id"):
        assert np.all(np.diff(rows.sort("rank")["score"]) <= 0)
