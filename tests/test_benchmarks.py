from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import ingestion
from sidiff.configuration import GROUPS, validate

from .settings import settings


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_stages_follow_each_other(tmp_path: Path, kind: str) -> None:
    parameters = validate({name: settings(name) for name in GROUPS})
    ingestion.make_log(tmp_path, 20_000, kind)
    found = {
        name: stage(tmp_path, parameters) for name, stage in ingestion.STAGES.items()
    }
    assert found["ingestion"] == {"rows": 20_000, "items": 100}
    kept = pl.read_parquet(tmp_path / "core_interactions.parquet")
    assert found["k_core"] == {"rows": len(kept)}
    assert 19_000 < len(kept) <= 20_000
    assert found["split"]["sequences"] == kept["user_id"].n_unique()
    assert found["split"]["catalogue"] == kept["item_id"].n_unique()
