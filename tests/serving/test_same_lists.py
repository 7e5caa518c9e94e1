"""Evaluation, batch and recommender give the same lists, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidiff.datasets import Model
from sidiff.pipelines.evaluation.nodes import evaluate_denoiser
from sidiff.pipelines.frames import to_sequences
from sidiff.pipelines.packaging.nodes import make_bundle
from sidiff.pipelines.recommend.nodes import recommend
from sidiff.serving import Bundle, Recommender
from sidiff.snapshots import SnapshotFolder

from ..pipelines.stored_shops import StoredShop
from ..settings import model


@pytest.mark.parametrize("method", ["mixture", "items", "cpd", "two_stage"])
def test_the_same_histories_get_the_same_lists(
    shop: StoredShop, tmp_path: Path, method: str
) -> None:
    evaluation = model(
        "evaluation", {"method": method, "exclude_seen": True, "users_per_batch": 7}
    )
    tested, *_ = evaluate_denoiser(
        shop.denoiser,
        Model({}, {}),
        shop.sequences,
        shop.catalogue,
        shop.sid_table,
        shop.lattice,
        evaluation,
        None,
    )
    make_bundle(
        shop.denoiser,
        shop.sequences,
        shop.catalogue,
        shop.sid_table,
        shop.lattice,
        evaluation,
        "shop",
    ).write(tmp_path / "bundle")
    bundle = Bundle.read(tmp_path / "bundle")
    recommender = Recommender(bundle)

    users = to_sequences(shop.sequences, shop.catalogue)
    ids = users.item_ids.to_list()
    rows = []
    for user, name in enumerate(users.user_ids):
        items = users.items[users.offsets[user] : users.offsets[user + 1] - 1]
        rows.append({"user_id": name, "items": [ids[item] for item in items]})
    rows = [row for row in rows if row["items"]]
    table = tmp_path / "histories.parquet"
    pl.DataFrame(rows).write_parquet(table)
    batch = recommend(
        bundle,
        shop.interactions,
        shop.ingestion_report,
        SnapshotFolder(tmp_path / "unfinished"),
        model("recommend", {"histories": str(table), "users_per_part": 13}),
        model("ingestion"),
        model("filtering"),
    )
    made = pl.concat([frame for _, frame in batch]).drop("method")
    order = ["user_id", "rank"]
    assert made.sort(order).equals(tested.sort(order))
    for row in rows:
        alone = recommender.recommend(row["items"], 10)
        own = tested.filter(user_id=row["user_id"])
        assert own["item_id"].to_list() == [item.item_id for item in alone]
        scores = np.array([item.score for item in alone], dtype=np.float32)
        assert np.array_equal(own["score"].to_numpy(), scores)
