"""Statistics of stored tables for kedro-viz, which supports pandas frames only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro_viz.constants import VIZ_METADATA_ARGS

from sidiff.datasets import Stored
from sidiff.files import atomic_file


class StatisticsHooks:
    """Hooks that record rows, columns and bytes of every stored table.

    Statistics of earlier runs stay, so a run of one stage keeps those of the others.
    """

    def __init__(self) -> None:
        self._file = Path()
        self._catalog = DataCatalog()
        self._known: dict[str, dict[str, int]] = {}

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read the statistics of earlier runs, before kedro-viz overwrites them."""
        folder = Path(context.project_path) / VIZ_METADATA_ARGS["path"]
        self._file = folder / "stats.json"
        try:
            self._known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            self._known = {}

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Keep the catalogue for the sizes of files."""
        self._catalog = catalog

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Record shape and size of a table."""
        dataset = self._catalog.get(dataset_name)
        table = isinstance(data, pl.DataFrame | pl.LazyFrame)
        if not table or not isinstance(dataset, Stored):
            return
        # Collecting a lazy frame would run it again; the stored file has the counts.
        stored = dataset.load() if isinstance(data, pl.LazyFrame) else data.lazy()
        self._known[dataset_name] = {
            "rows": stored.select(pl.len()).collect().item(),
            "columns": len(stored.collect_schema()),
            "file_size": dataset.stored_size(),
        }

    # Last, so that kedro-viz has written its file.
    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Write the statistics where kedro-viz reads them."""
        # Kedro-viz creates the folder, in projects only.
        if not self._file.parent.exists():
            return
        with atomic_file(self._file) as part:
            part.write_text(json.dumps(self._known))
