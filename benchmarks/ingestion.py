"""Ingestion, k-core and split of a large synthetic log: rows per second, peak memory.

    python -m benchmarks.ingestion --rows 5000000 --json ingestion.json

Every stage runs the nodes of the pipeline in a separate process, for its peak memory,
and reads the data sets of the stage before it. The generation of the log is not
measured. Run it from the folder of the project.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import polars as pl

from sidiff.configuration import Configuration, validate
from sidiff.datasets import StreamedParquet
from sidiff.pipelines.filtering import nodes as filtering
from sidiff.pipelines.ingestion import nodes as ingestion
from sidiff.presets import PresetConfigLoader
from sidiff.settings import CONFIG_LOADER_ARGS

ROWS_PER_USER = 20
ROWS_PER_ITEM = 200
ROWS_PER_FILE = 2_000_000
FIRST, LAST = 1_500_000_000, 1_700_000_000

Stage = Callable[[Path, Configuration], dict[str, int]]


def make_log(folder: Path, rows: int, kind: str) -> None:
    """Write a log of about ``rows / 20`` users and ``rows / 200`` items, in parts."""
    users, items = max(rows // ROWS_PER_USER, 10), max(rows // ROWS_PER_ITEM, 10)
    draw = np.random.default_rng(1)
    (folder / "log").mkdir()
    for part, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        size = min(ROWS_PER_FILE, rows - start)
        frame = pl.DataFrame(
            {
                "user_id": draw.integers(users, size=size),
                # Few items are popular, most are not.
                "item_id": (items * draw.random(size) ** 3).astype(np.int64),
                "timestamp": draw.integers(FIRST, LAST, size),
            }
        ).with_columns(
            pl.format("customer-{}", "user_id").alias("user_id"),
            pl.format("item-{}", "item_id").alias("item_id"),
        )
        path = folder / "log" / f"part-{part:05d}.{kind}"
        if kind == "parquet":
            frame.write_parquet(path)
        else:
            frame.write_csv(path)
    shelf = pl.DataFrame({"item_id": [f"item-{item}" for item in range(items)]})
    shelf.with_columns(title="item_id").write_parquet(folder / "items.parquet")


def ingest(folder: Path, settings: Configuration) -> dict[str, int]:
    """Raw files to typed rows."""
    given = settings.ingestion.model_copy(update={"layout": "table"})
    paths = sorted((folder / "log").iterdir())
    frame, rejected, reviews = ingestion.ingest_reviews(paths, given)
    _interactions(folder).save(frame)
    items, rejected_items, metadata = ingestion.ingest_metadata(
        [folder / "items.parquet"], given
    )
    items.write_parquet(folder / "shelf.parquet")
    report = ingestion.check_rejected_lines(
        rejected, rejected_items, reviews, metadata, given, str(folder), "benchmark"
    )
    (folder / "report.json").write_text(json.dumps(report))
    return {"rows": reviews["rows"], "items": metadata["rows"]}


def core(folder: Path, settings: Configuration) -> dict[str, int]:
    """Typed rows to those of the k-core, without repeats."""
    given = settings.filtering.model_copy(update={"merge_seconds": 10})
    report = json.loads((folder / "report.json").read_text())
    kept, _ = filtering.filter_k_core(_interactions(folder).load(), report, given)
    _core(folder).save(kept)
    return {"rows": _core(folder).load().select(pl.len()).collect().item()}


def split(folder: Path, settings: Configuration) -> dict[str, int]:
    """Rows of the k-core to sequences, training samples and the catalogue."""
    report = json.loads((folder / "report.json").read_text())
    *made, _ = filtering.build_sequences(
        _core(folder).load(),
        pl.read_parquet(folder / "shelf.parquet"),
        report,
        settings.filtering,
    )
    names = ("sequences", "samples", "catalogue")
    for name, frame in zip(names, made, strict=True):
        frame.write_parquet(folder / f"{name}.parquet")
    return {name: len(frame) for name, frame in zip(names, made, strict=True)}


STAGES: dict[str, Stage] = {"ingestion": ingest, "k_core": core, "split": split}


def _interactions(folder: Path) -> StreamedParquet:
    return StreamedParquet(str(folder / "interactions.parquet"))


def _core(folder: Path) -> StreamedParquet:
    return StreamedParquet(str(folder / "core_interactions.parquet"))


def _measure(stage: str, folder: Path, results: Any) -> None:
    warnings.simplefilter("ignore")  # of Kedro's own configuration loader
    conf = PresetConfigLoader("conf", env="base", **CONFIG_LOADER_ARGS)
    settings = validate(conf["parameters"])
    began, busy = perf_counter(), process_time()
    outcome = STAGES[stage](folder, settings)
    measured = {
        "seconds": perf_counter() - began,
        "cpu_seconds": process_time() - busy,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    results.put(measured | outcome)


def measure(rows: int, kind: str, folder: Path) -> dict[str, Any]:
    """Run all stages on a log of ``rows`` rows below ``folder``."""
    fresh = multiprocessing.get_context("spawn")
    maker = fresh.Process(target=make_log, args=(folder, rows, kind))
    maker.start()
    maker.join()
    stages = {}
    for stage in STAGES:
        results = fresh.SimpleQueue()
        process = fresh.Process(target=_measure, args=(stage, folder, results))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{stage} ended with {process.exitcode}")
        stages[stage] = results.get()
    seconds = sum(stage["seconds"] for stage in stages.values())
    return {
        "rows": rows,
        "format": kind,
        "cores": len(os.sched_getaffinity(0)),
        "polars": pl.__version__,
        "seconds": seconds,
        "cpu_seconds": sum(stage["cpu_seconds"] for stage in stages.values()),
        "rows_per_second": rows / seconds,
        "peak_gib": max(stage["peak_gib"] for stage in stages.values()),
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, required=True, help="interactions")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--folder", type=Path, help="where the tables lie meanwhile")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        figures = json.dumps(measure(given.rows, given.format, Path(folder)), indent=2)
    print(figures)
    if given.json:
        given.json.write_text(figures + "\n")


if __name__ == "__main__":
    main()
