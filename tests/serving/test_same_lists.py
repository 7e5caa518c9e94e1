"""Evaluation, batch, recommender, server and pyfunc: the same lists, bit for bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pytest

from sidiff.datasets import Model
from sidiff.mlflow_model import BUNDLE, BundleModel
from sidiff.pipelines.evaluation.nodes import evaluate_denoiser
from sidiff.pipelines.frames import to_sequences
from sidiff.pipelines.packaging.nodes import make_bundle
from sidiff.pipelines.recommend.nodes import recommend
from sidiff.serving import Bundle, Recommender
from sidiff.snapshots import SnapshotFolder

from ..pipelines.stored_shops import StoredShop
from ..server.conftest import serving
from ..settings import model


@pytest.mark.parametrize("method", ["items_markov", "items", "cpd", "two_stage"])
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
    asked = [row["items"] for row in rows]
    with serving(tmp_path / "bundle") as server:
        url = f"{server.url}/recommendations"
        answer = httpx.post(url, json={"histories": asked}, timeout=60)
    served = answer.raise_for_status().json()["lists"]
    predictor = BundleModel()
    predictor.load_context(SimpleNamespace(artifacts={BUNDLE: tmp_path / "bundle"}))
    predicted = predictor.predict(None, pd.DataFrame({"items": asked}))
    for row, told, one in zip(rows, served, predicted.itertuples(), strict=True):
        alone = recommender.recommend(row["items"], 10)
        own = tested.filter(user_id=row["user_id"])
        assert own["item_id"].to_list() == [item.item_id for item in alone]
        scores = np.array([item.score for item in alone], dtype=np.float32)
        assert np.array_equal(own["score"].to_numpy(), scores)
        assert [item["item_id"] for item in told["items"]] == own["item_id"].to_list()
        assert np.array_equal([item["score"] for item in told["items"]], scores)
        assert one.item_ids == own["item_id"].to_list()
        assert np.array_equal(one.scores, scores)
