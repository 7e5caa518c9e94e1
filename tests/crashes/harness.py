"""``kedro run`` as a person types it, killed at a chosen place in its course."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

SMALL: dict[str, Any] = {
    "sample_data": {"users": 200, "items": 100},
    "filtering": {"min_user_interactions": 3, "min_item_interactions": 3},
    "embedding": {"batch_size": 8, "shard_batches": 1},
    "tokenization": {"whitening": {"dimensions": 16}},
    "training": {
        "network": {"d_model": 16, "heads": 2, "d_ff": 16, "decoder_layers": 1},
        "validation": {"first_epoch": 1, "every_epochs": 1, "max_users": 50},
        "batch_size": 32,
        "epochs": 4,
        "checkpoint_seconds": 0.2,
    },
    "evaluation": {"decoding": {"beam": 8}, "decoder_users": 20, "seeds": [2024, 1]},
    "baselines": {
        "sasrec": {"d_model": 16, "d_ff": 16, "epochs": 2, "tune": [{"layers": 2}]},
        "autoregressive": {"epochs": 2, "beam": 16},
    },
}
"""Values laid over conf/base: a run of half a minute in which everything takes part."""

RESULTS = (
    "04_feature/{}/item_embeddings.parquet",
    "05_model_input/{}/sid_table.parquet",
    "05_model_input/{}/training_samples.parquet",
    "06_models/{}/denoiser.safetensors",
    "06_models/{}/seed_denoisers.safetensors",
    "06_models/{}/baseline_networks.safetensors",
    "07_model_output/{}/test_lists.parquet",
    "08_reporting/{}/training_history.parquet",
    "08_reporting/{}/metrics.json",
)
"""Stored files that hold no times, and so must be equal byte by byte."""

_NODE_DONE = re.compile(r"\d+/\d+\s+(\w+)\s+[\d.]+ s")


@dataclass
class Course:
    """What a run did before it ended or was killed.

    Attributes:
        code: exit code; -9 where it was killed.
        nodes: finished nodes in order.
        ends: seconds from the start to the end of each.
        output: all that it printed.
    """

    code: int = 0
    nodes: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    output: list[str] = field(default_factory=list)


def make_project(path: Path, changes: dict[str, Any]) -> Path:
    """A copy of the project's configuration, with values of its own."""
    shutil.copytree(ROOT / "conf", path / "conf")
    shutil.copy(ROOT / "pyproject.toml", path)
    (path / "src").mkdir()
    local = path / "conf" / "local"
    local.mkdir(exist_ok=True)
    (local / "parameters.yml").write_text(yaml.safe_dump(changes))
    return path


def run(
    project: Path,
    dataset: str,
    after_nodes: int | None = None,
    seconds: float = 0.0,
    options: tuple[str, ...] = (),
    written: str | None = None,
) -> Course:
    """Run ``full``; kill it ``seconds`` after so many nodes have finished.

    The signal is SIGKILL, to the process and all that it started. With ``written``, a
    pattern of files below ``data``, it waits until there is one: on a machine that is
    busier than before, no time says how far a node has come.
    """
    course = Course()
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 (our own arguments)
        [
            *(sys.executable, "-m", "kedro", "run", "--pipeline=full"),
            *(f"--params=dataset={dataset}", *options),
        ],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    data = project / "data"

    def kill() -> None:
        while written and process.poll() is None and not any(data.glob(written)):
            time.sleep(0.002)
        _kill(process)

    timer = threading.Timer(seconds, kill)
    try:
        if after_nodes == 0:
            timer.start()
        for line in process.stdout:
            course.output.append(line)
            found = _NODE_DONE.search(line)
            if found:
                course.nodes.append(found[1])
                course.ends.append(time.perf_counter() - began)
                if after_nodes == len(course.nodes):
                    timer.start()
        course.code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.stdout.close()
    return course


def results(project: Path, dataset: str) -> dict[str, bytes]:
    """The latest stored version of every result that there is, as bytes."""
    found = {}
    for place in RESULTS:
        folder = project / "data" / place.format(dataset)
        versions = sorted(folder.glob(f"*/{folder.name}"))
        if versions:
            found[place] = versions[-1].read_bytes()
    return found


def leftovers(project: Path, dataset: str) -> list[Path]:
    """Unfinished work that a run which ended well should have removed."""
    return [
        path
        for name in ("06_models/{}/checkpoints", "04_feature/{}/embedding_shards")
        for path in (project / "data" / name.format(dataset)).glob("*")
    ]


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
