"""The comparison as a stage of its own, from stored results of a few users."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from kedro.framework.session import KedroSession
from mlflow.tracking import MlflowClient
from rich.console import Console

from sidiff.console import render
from sidiff.errors import SidiffError
from sidiff.evaluation.headlines import Headline, headline_rows, headlines
from sidiff.ranking.results import Cost, Results
from sidiff.sids.table import SidTable

from .conftest import Run
from .test_tracking import find

PARAMS = {
    "dataset": "compared",
    "comparison": {"bootstrap": {"resamples": 20}},
}
ITEMS, USERS = 30, 50
REPORTS: dict[str, Any] = {
    "data_statistics": {
        "synthetic": True,
        "users": 50,
        "items": 30,
        "interactions": 400,
    },
    "sid_report": {
        "digits": 2,
        "codebook_size": 8,
        "distinct_sids": 20,
        "items": 30,
    },
    "metrics": {"n_users": 50.0, "test/item/ndcg_at_10": 0.125},
}


def table() -> SidTable:
    ids = [f"item {i:02d}" for i in range(ITEMS)]
    codes = np.stack([np.arange(ITEMS) // 2 // 4, np.arange(ITEMS) // 2 % 4], axis=1)
    return SidTable(codes.astype(np.uint16), pl.Series(ids), 4)


def ranked(method: str, seed: int, users: int) -> pl.DataFrame:
    rng = np.random.default_rng([seed, len(method)])
    items = np.stack([rng.permutation(ITEMS)[:10] for _ in range(users)])
    targets = np.arange(users) % ITEMS
    cost = Cost(1.0, 100.0)
    scores = np.zeros(items.shape, dtype=np.float32)
    history = np.arange(users) % 20 + 1
    made = Results(items, scores, items // 2, np.arange(users), targets, history, cost)
    return made.to_frame(method, seed)


def inputs() -> dict[str, pl.DataFrame]:
    ids = [f"item {i:02d}" for i in range(ITEMS)]
    count = np.arange(ITEMS) // 2
    catalogue = pl.DataFrame(
        {
            "item_index": np.arange(ITEMS),
            "item_id": ids,
            "training_count": count,
            "in_training": count > 0,
        }
    )

    def costs(*methods: str) -> pl.DataFrame:
        rows = ({"method": m, "seed": 1, **asdict(Cost(1.0, 100.0))} for m in methods)
        return pl.DataFrame(rows)

    return {
        "catalogue": catalogue,
        "sid_table": table().to_frame(),
        "evaluation_results": pl.concat(
            [ranked("as_configured", seed, USERS) for seed in (1, 2)]
        ),
        "evaluation_costs": costs("as_configured"),
        "decoder_results": pl.concat(
            [ranked("cpd", 1, USERS), ranked("random_order", 1, 20)]
        ),
        "decoder_costs": costs("cpd", "random_order"),
        "baseline_results": pl.concat(
            [ranked("sasrec", 1, USERS), ranked("popularity", 1, USERS)]
        ),
        "baseline_costs": costs("sasrec", "popularity"),
    }


@pytest.fixture(scope="module")
def compared(project: Path, run: Run) -> str:
    """The version of one run of the stage over stored inputs."""
    with KedroSession.create(project, runtime_params=PARAMS) as session:
        catalog = session.load_context().catalog
        for name, frame in inputs().items():
            catalog.save(name, frame)
    return run("comparison", PARAMS)


def stored(project: Path, name: str, version: str) -> Path:
    return project / "data" / "08_reporting" / "compared" / name / version / name


def test_the_stage_writes_table_report_and_figures(
    project: Path, compared: str
) -> None:
    frame = pl.read_parquet(stored(project, "comparison.parquet", compared))
    assert frame["method"].unique(maintain_order=True).to_list() == [
        "as_configured",
        "cpd",
        "random_order",
        "sasrec",
        "popularity",
    ]
    assert frame.filter(method="random_order", level="item")["users"].max() == 20
    page = stored(project, "comparison_table.md", compared).read_text(encoding="utf-8")
    assert page.startswith("# Methods compared on compared\n")
    figure = stored(project, "comparison_figure.png", compared)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_comparison_is_tracked(project: Path, compared: str) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    found = find(client, compared)
    frame = pl.read_parquet(stored(project, "comparison.parquet", compared))
    frame = frame.filter(level="item", metric="ndcg_at_10")
    means = dict(frame.filter(by="all").select("method", "mean").iter_rows())
    of_seeds = dict(frame.filter(by="seed").select("bucket", "mean").iter_rows())
    below = client.search_runs(
        [found.info.experiment_id],
        f"tags.mlflow.parentRunId = '{found.info.run_id}'",
    )
    assert {run.info.run_name for run in below} == set(means)
    for run in below:
        mean = means[run.info.run_name]
        assert run.data.metrics["item/ndcg_at_10"] == pytest.approx(mean)
        assert run.info.status == "FINISHED"
        seeds = client.search_runs(
            [found.info.experiment_id],
            f"tags.mlflow.parentRunId = '{run.info.run_id}'",
        )
        several = run.info.run_name == "as_configured"
        assert (
            sorted(seed.data.tags["seed"] for seed in seeds)
            == ["1", "2"][: 2 * several]
        )
        for seed in seeds:
            mean = of_seeds[seed.data.tags["seed"]]
            assert seed.data.metrics["item/ndcg_at_10"] == pytest.approx(mean)
    assert not [name for name in found.data.metrics if "comparison" in name]
    assert found.data.params["comparison.bootstrap.resamples"] == "20"
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert names >= {
        "comparison_table.md",
        "comparison_figure.png",
        "trade_off_figure.json",
    }


def shown(lines: Sequence[Headline]) -> list[str]:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    results = {"comparison_table": f"{Path.cwd()}/data/v/comparison_table.md"}
    console.print(render(REPORTS, lines, results, 75.0, None), highlight=False)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_summary_shows_the_comparison(project: Path, compared: str) -> None:
    frame = pl.read_parquet(stored(project, "comparison.parquet", compared))
    frame = frame.with_columns(
        mean=pl.when(metric="users_per_second")
        .then(123_456.0)
        .otherwise(pl.col("mean")),
    )
    methods = headlines(frame)
    lines = shown(methods)
    assert max(len(line) for line in lines) <= 80
    titles, *rows = headline_rows(methods)
    assert titles[2:] == ["R@10", "N@10", "SID N@10", "users/s"]
    for row in rows:
        (line,) = (text for text in lines if text.strip().startswith(f"{row[0]} "))
        assert line.split() == " ".join(row).split()
        assert row[1] == ("20" if row[0] == "random order" else "50")
        assert row[-1] == "123,456"
    assert not any("0.1250" in line for line in lines)


def test_a_summary_without_comparison_shows_the_metrics() -> None:
    lines = shown([])
    (row,) = (line for line in lines if line.startswith("Test, item"))
    assert "NDCG@10 0.1250" in row
    assert any("50 users, 30 items, 400 interactions" in line for line in lines)
    assert any("synthetic" in line for line in lines)


@pytest.mark.parametrize(
    ("node", "shows"), [("compare_methods", True), ("write_comparison", False)]
)
def test_a_run_shows_the_comparison_that_it_made(
    compared: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    node: str,
    shows: bool,
) -> None:
    """And no older one where it made none."""
    run("comparison", PARAMS, node_names=[node])
    assert ("SID N@10" in capsys.readouterr().out) is shows


def test_rankings_of_another_sid_table_are_refused(
    project: Path, compared: str, run: Run
) -> None:
    with KedroSession.create(project, runtime_params=PARAMS) as session:
        dataset = session.load_context().catalog.get("baseline_results")
        dataset.made_of = {"sid_table": "0" * 64}
        dataset.save(inputs()["baseline_results"])
    with KedroSession.create(project, runtime_params=PARAMS) as session:
        # Since then the table was made anew: the older of the two is to be made again.
        session.load_context().catalog.save("sid_table", inputs()["sid_table"])
    with pytest.raises(SidiffError, match=r"--pipeline=baselines again"):
        run("comparison", PARAMS)
    with KedroSession.create(project, runtime_params=PARAMS) as session:
        catalog = session.load_context().catalog
        catalog.save("baseline_results", inputs()["baseline_results"])
