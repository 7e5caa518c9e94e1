"""Bundles in MLflow: logged, registered, compared, served by MLflow's own server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest

from sidiff.pipelines.packaging.nodes import register_bundle
from sidiff.pipelines.packaging.registry import CHAMPION
from sidiff.serving import Bundle, Recommender

from ..serving.conftest import bundle_of
from ..settings import model
from .stored_shops import StoredShop, make_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> StoredShop:
    return make_shop(tmp_path_factory.mktemp("shop"), 1)


@pytest.fixture(scope="module")
def good(shop: StoredShop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp("good") / "bundle"
    bundle_of(shop).write(place)
    return Bundle.read(place)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"sqlite:///{folder}/mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    mlflow.create_experiment("shop", artifact_location=str(folder / "artifacts"))
    yield address
    mlflow.set_tracking_uri(before)


def registered(shop: StoredShop, bundle: Bundle) -> dict[str, Any]:
    with mlflow.start_run(experiment_id=experiment()):
        return register_bundle(
            bundle,
            shop.sequences,
            shop.catalogue,
            model("training"),
            model("comparison").bootstrap,
            "shop",
        )


def experiment() -> str:
    found = mlflow.get_experiment_by_name("shop")
    assert found is not None
    return str(found.experiment_id)


NO_CHAIN = {"transitions": {"weight": 0.0, "scale": 1.0}}


def champion() -> str:
    client = mlflow.MlflowClient()
    return str(client.get_model_version_by_alias("sidiff-shop", CHAMPION).version)


def test_only_what_ranks_better_beyond_noise_becomes_champion(
    shop: StoredShop, good: Bundle, tracking: str
) -> None:
    # A network of noise alone, then with the chain that knows what followed what.
    poor = replace(good, ranking={**good.ranking, **NO_CHAIN})
    first = registered(shop, poor)
    assert (first["version"], first["champion"]) == ("1", True)
    assert first["difference"] is None
    second = registered(shop, good)
    assert second["champion"], second["reason"]
    assert second["low"] > 0.0
    assert second["difference"] == pytest.approx(
        second["ndcg_at_10"] - first["ndcg_at_10"]
    )
    assert champion() == "2"
    for worse in (good, poor):
        again = registered(shop, worse)
        assert not again["champion"]
        assert again["low"] <= 0.0
        assert champion() == "2"
    assert registered(shop, good)["version"] == "5"


def test_without_a_run_nothing_is_registered(shop: StoredShop, good: Bundle) -> None:
    told = register_bundle(
        good,
        shop.sequences,
        shop.catalogue,
        model("training"),
        model("comparison").bootstrap,
        "shop",
    )
    assert told["version"] is None


def test_the_model_says_what_it_takes(tracking: str, good: Bundle) -> None:
    info = mlflow.models.get_model_info(f"models:/sidiff-shop@{CHAMPION}")
    assert [column.name for column in info.signature.inputs.inputs] == ["items"]
    assert {one.name for one in info.signature.params.params} == {
        *("k", "exclude_seen", "decoder")
    }
    folder = mlflow.artifacts.download_artifacts(f"models:/sidiff-shop@{CHAMPION}")
    needs = (Path(folder) / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in needs if not line.startswith("mlflow"))
    files = {path.suffix for path in Path(folder).rglob("*") if path.is_file()}
    assert not files & {".pkl", ".pickle"}


def histories(recommender: Recommender) -> list[list[str]]:
    random = np.random.default_rng(3)
    ids = recommender.names.item_ids.to_list()
    some = [[ids[i] for i in random.integers(0, 60, n)] for n in (1, 2, 5, 30, 80)]
    return [*some, [], ["nobody knows"]]


def test_it_predicts_what_the_recommender_recommends(
    tracking: str, good: Bundle
) -> None:
    recommender = Recommender(good)
    model = mlflow.pyfunc.load_model(f"models:/sidiff-shop@{CHAMPION}")
    for params in ({}, {"k": 3, "exclude_seen": False, "decoder": "cpd"}):
        asked = histories(recommender)
        told = model.predict(pd.DataFrame({"items": asked}), params=params)
        wanted = recommender.recommend(asked, **params)
        for row, found in zip(told.itertuples(), wanted, strict=True):
            assert row.item_ids == [item.item_id for item in found]
            assert row.scores == [item.score for item in found]
            assert row.method == found.method
            assert row.unknown == list(found.unknown)


def test_what_pandas_reads_is_taken_and_what_is_no_list_of_ids_refused(
    tracking: str, good: Bundle
) -> None:
    recommender = Recommender(good)
    predictor = mlflow.pyfunc.load_model(f"models:/sidiff-shop@{CHAMPION}")
    asked = histories(recommender)[0]
    table = pd.DataFrame({"items": [np.array(asked, dtype=object)]})
    told = predictor.predict(table)["item_ids"][0]
    assert told == [item.item_id for item in recommender.recommend(asked)]
    for wrong in ([*asked, None], "text", 5):
        with pytest.raises(mlflow.MlflowException, match="item id"):
            predictor.predict(pd.DataFrame({"items": [wrong]}))


def test_mlflows_server_answers(tracking: str, good: Bundle, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve"),
        *("-m", f"models:/sidiff-shop@{CHAMPION}", "--env-manager", "local"),
        *("--port", str(port)),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking, "PATH": path}
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                if httpx.get(f"{url}/ping").status_code == 200:
                    break
            except httpx.TransportError:
                assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.5)
        recommender = Recommender(good)
        asked = histories(recommender)
        records = [{"items": items} for items in asked]
        answer = httpx.post(
            f"{url}/invocations", json={"dataframe_records": records}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        for row, found in zip(
            answer.json()["predictions"], recommender.recommend(asked), strict=True
        ):
            assert row["item_ids"] == [item.item_id for item in found]
            assert row["scores"] == [item.score for item in found]
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def test_a_champion_that_cannot_be_opened_stays(
    shop: StoredShop, good: Bundle, tracking: str
) -> None:
    folder = mlflow.artifacts.download_artifacts(f"models:/sidiff-shop@{CHAMPION}")
    weights = Path(folder) / "artifacts" / "bundle" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    try:
        told = registered(shop, good)
    finally:
        weights.write_bytes(content)
    assert not told["champion"]
    assert "cannot be opened" in told["reason"]
    assert champion() == "2"


def other_items(bundle: Bundle, **changes: Any) -> Bundle:
    """The bundle as a later one with other items would be."""
    about = {**bundle.about, "extends": bundle.about["fingerprint"], "fingerprint": "f"}
    return replace(bundle, about=about, **changes)


def test_the_champion_with_worse_items_does_not_become_champion(
    shop: StoredShop, good: Bundle, tracking: str
) -> None:
    poor = other_items(good, ranking={**good.ranking, **NO_CHAIN})
    told = registered(shop, poor)
    assert not told["champion"]
    assert told["high"] < 0.0
    assert "other items, worse than champion 2" in told["reason"]
    assert champion() == "2"


def test_the_champion_with_other_items_stays_champion(
    shop: StoredShop, good: Bundle, tracking: str
) -> None:
    # What is sold out is no reason to go on with it, however many wanted it next.
    numbers = pl.int_range(pl.len())
    items = good.items.with_columns(offered=numbers % 2 == 0)
    told = registered(shop, other_items(good, items=items))
    assert told["champion"], told["reason"]
    assert "other items, not beyond noise worse than champion 2" in told["reason"]
    assert champion() == told["version"]
