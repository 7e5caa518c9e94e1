from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from .conftest import SMALL, Run


def stored(project: Path, layer: str, name: str, version: str) -> Path:
    return project / "data" / layer / "sample" / name / version / name


def read_json(project: Path, name: str, version: str) -> dict[str, Any]:
    path = stored(project, "08_reporting", f"{name}.json", version)
    return dict(json.loads(path.read_text()))


def versions(project: Path, layer: str, name: str) -> list[str]:
    return sorted(
        p.name for p in (project / "data" / layer / "sample" / name).iterdir()
    )


def test_every_user_gets_ranked_items(project: Path, full_run: str) -> None:
    frame = pl.read_parquet(
        stored(project, "07_model_output", "test_lists.parquet", full_run)
    )
    assert frame.columns == ["user_id", "rank", "item_id", "score", "semantic_id"]
    users = read_json(project, "metrics", full_run)["n_users"]
    assert frame["user_id"].n_unique() == users
    best = frame.filter(pl.col("rank") == 1)
    assert len(best) == users
    per_user = frame.group_by("user_id").agg(
        pl.col("rank").n_unique() == pl.len(), pl.col("item_id").n_unique() == pl.len()
    )
    assert per_user.select(pl.all_horizontal("rank", "item_id").all()).item()


def test_reports_agree_with_each_other(project: Path, full_run: str) -> None:
    data = read_json(project, "data_statistics", full_run)
    sids = read_json(project, "sid_report", full_run)
    assert data["synthetic"] is True
    assert data["rejected_lines"] == 0
    assert data["items"] == sids["items"]
    assert 1 <= sids["distinct_sids"] <= sids["items"]
    metrics = read_json(project, "metrics", full_run)
    for level in ("sid", "item"):
        for key in ("recall_at_5", "ndcg_at_5", "recall_at_10", "ndcg_at_10"):
            assert 0.0 <= metrics[f"test/{level}/{key}"] <= 1.0


def test_the_ingestion_report_describes_the_raw_files(
    project: Path, full_run: str
) -> None:
    name = "ingestion_report.json"
    report = json.loads(stored(project, "02_intermediate", name, full_run).read_text())
    raw = project / "data" / "01_raw" / "sample" / report["reviews"]["file"]
    assert report["reviews"]["bytes"] == raw.stat().st_size
    assert len(report["reviews"]["sha256"]) == 64
    assert report["metadata"]["lines"] == 100


def test_figures_are_pictures(project: Path, full_run: str) -> None:
    for name in (
        "sid_figure.png",
        "masking_figure.png",
        "comparison_figure.png",
    ):
        content = stored(project, "08_reporting", name, full_run).read_bytes()
        assert content.startswith(b"\x89PNG")
    for name in ("training_figure", "trade_off_figure"):
        assert read_json(project, name, full_run)["data"]


def test_same_configuration_same_semantic_ids(
    project: Path, full_run: str, run: Run
) -> None:
    again = run("tokenization")
    name = "sid_table.parquet"
    first = pl.read_parquet(stored(project, "05_model_input", name, full_run))
    second = pl.read_parquet(stored(project, "05_model_input", name, again))
    assert first.equals(second)


def test_unchanged_texts_keep_their_embeddings(
    project: Path, full_run: str, run: Run
) -> None:
    again = run("embedding")
    name = "item_embeddings.parquet"
    first = pl.read_parquet(stored(project, "04_feature", name, full_run))
    second = pl.read_parquet(stored(project, "04_feature", name, again))
    assert first.equals(second)


def test_a_stage_alone_writes_and_shows_its_own_results_only(
    project: Path, full_run: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    others = versions(project, "03_primary", "catalogue.parquet")
    capsys.readouterr()
    again = run("evaluation")
    screen = capsys.readouterr().out
    assert "Test, item" in screen
    assert "users/s" not in screen  # of the older comparison
    assert again in versions(project, "07_model_output", "test_lists.parquet")
    assert versions(project, "03_primary", "catalogue.parquet") == others


def test_nodes_and_tags_choose_a_part(project: Path, full_run: str, run: Run) -> None:
    from_node = run("full", from_nodes=["plot_comparison"])
    assert from_node in versions(project, "08_reporting", "comparison_figure.png")
    by_tag = run("full", tags=["filtering"])
    assert by_tag in versions(project, "03_primary", "sequences.parquet")
    assert by_tag not in versions(project, "02_intermediate", "interactions.parquet")


def test_a_pinned_version_is_the_one_that_is_read(
    project: Path, full_run: str, run: Run
) -> None:
    other = {
        **SMALL,
        "filtering": {
            "min_user_interactions": 1,
            "min_item_interactions": 1,
            "min_history": 3,
        },
    }
    latest = run("filtering", other)
    counts = [read_json(project, "data_statistics", v) for v in (full_run, latest)]
    assert counts[0]["training_samples"] != counts[1]["training_samples"]
    filtered = ("sequences", "catalogue", "training_samples")
    summaries = ("core_summary", "order_summary")
    pins = dict.fromkeys((*filtered, *summaries), full_run)
    again = run("full", node_names=["describe_data"], load_versions=pins)
    assert read_json(project, "data_statistics", again) == counts[0]
    run("filtering")


def test_own_files_take_the_place_of_the_sample(
    project: Path, full_run: str, run: Run
) -> None:
    raw = project / "data" / "01_raw" / "sample"
    own = {
        **SMALL,
        "raw_reviews": str(raw / "reviews_Sample_5.json.gz"),
        "raw_metadata": str(raw / "meta_Sample.json.gz"),
        "dataset": "own",
        # Would give other files, had the generator run.
        "sample_data": {"users": 60, "items": 60},
    }
    before = (raw / "reviews_Sample_5.json.gz").read_bytes()
    version = run("full", own, to_nodes=["describe_data"])
    assert (raw / "reviews_Sample_5.json.gz").read_bytes() == before
    name = "data_statistics.json"
    path = project / "data" / "08_reporting" / "own" / name / version / name
    assert json.loads(path.read_text()) == read_json(
        project, "data_statistics", full_run
    )


@pytest.mark.parametrize(
    ("quantizer", "changes"),
    [
        ("rq_kmeans", {}),
        ("opq", {"codebook_size": 77}),
    ],
)
def test_every_quantizer_ends_in_a_table(
    project: Path, full_run: str, run: Run, quantizer: str, changes: dict[str, Any]
) -> None:
    tokenization = {**SMALL["tokenization"], "quantizer": quantizer, **changes}
    run("tokenization", {**SMALL, "tokenization": tokenization})
    table = pl.read_parquet(
        max(
            (project / "data/05_model_input/sample/sid_table.parquet").glob(
                "*/*.parquet"
            )
        )
    )
    assert {"item_id", "code_0", "code_3", "sid"} <= set(table.columns)
    run("tokenization")


def test_real_files_give_the_published_counts(
    project: Path, run: Run, real_data: Path
) -> None:
    folder = real_data / "amazon2014_beauty"
    files = {
        "raw_reviews": str(folder / "reviews_Beauty_5.json.gz"),
        "raw_metadata": str(folder / "meta_Beauty.json.gz"),
        "preset": "release",  # whose windows the published counts are of
    }
    version = run("full", files, env="beauty", to_nodes=["describe_data"])
    name = "data_statistics.json"
    path = project / "data" / "08_reporting" / "beauty" / name / version / name
    counts = json.loads(path.read_text())
    assert counts["synthetic"] is False
    wanted = {
        "users": 22_363,
        "items": 12_101,
        "interactions": 198_502,
        "training_samples": 105_668,
        "training_items": 12_061,
    }
    assert wanted.items() <= counts.items()
