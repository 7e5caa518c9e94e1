"""What kedro-viz is given: stages that fold, layers in their order, statistics."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from kedro.framework.session import KedroSession
from kedro_viz.data_access import DataAccessManager
from kedro_viz.server import populate_data

from sidiff.datasets.previews import table_preview
from sidiff.pipeline_registry import STAGES, register_pipelines

from .conftest import Run
from .test_catalog import LAYERS
from .test_command_line import kedro

REGISTERED = register_pipelines()


@pytest.fixture(scope="module")
def viz(project: Path) -> DataAccessManager:
    """Kedro-viz's own view of the project."""
    manager = DataAccessManager()
    with KedroSession.create(project) as session:
        populate_data(manager, session.load_context().catalog, REGISTERED, {})
    return manager


def test_every_stage_is_a_box_that_folds(viz: DataAccessManager) -> None:
    tree = viz.create_modular_pipelines_tree_for_registered_pipeline("full")
    assert set(tree) == {"__root__", *STAGES}
    for stage in STAGES:
        inside = REGISTERED["full"].only_nodes_with_namespaces([stage])
        whole = {node.name for node in STAGES[stage].nodes}
        assert {node.name for node in inside.nodes} == whole


@pytest.mark.parametrize("pipeline", sorted(REGISTERED))
def test_layers_stand_in_their_order(viz: DataAccessManager, pipeline: str) -> None:
    viz.create_modular_pipelines_tree_for_registered_pipeline(pipeline)
    names = REGISTERED[pipeline].datasets()
    drawn = {viz.catalog.get_layer_for_dataset(name) for name in names}
    layers = viz.get_sorted_layers_for_registered_pipeline(pipeline)
    # Those of other pipelines have no data sets here and are not drawn.
    shown = [layer for layer in layers if layer in drawn]
    assert shown == [layer for layer in LAYERS if layer in drawn]


def test_tables_have_statistics(project: Path, full_run: str, run: Run) -> None:
    # Statistics are of the last run, which may have been of another data set.
    run("tokenization")
    run("filtering")
    known = json.loads((project / ".viz" / "stats.json").read_text())
    with KedroSession.create(project) as session:
        catalog = session.load_context().catalog
        # One saved as a frame, one as a query, one by an earlier run than the last.
        for name in ("sequences", "core_interactions", "sid_table"):
            stored = catalog.load(name).lazy().collect()
            folder = project / "data"
            files = sorted(folder.glob(f"*/sample/{name}.parquet/*/{name}.parquet"))
            assert known[name] == {
                "rows": stored.height,
                "columns": stored.width,
                "file_size": files[-1].stat().st_size,
            }


def test_a_preview_has_no_digests_and_lists_as_text() -> None:
    frame = pl.DataFrame(
        {"item": ["a", "b"], "settings": ["0f" * 32] * 2, "codes": [[1, 2], [3]]}
    )
    shown = table_preview(frame)
    assert shown["columns"] == ["item", "codes"]
    assert [row[0] for row in shown["data"]] == ["a", "b"]
    json.dumps(shown)


def test_nodes_go_by_their_own_names(project: Path, full_run: str) -> None:
    for arguments, nodes in (
        (["--nodes=describe_data"], ["describe_data"]),
        (
            ["--from-nodes=plot_comparison", "--to-nodes=plot_comparison"],
            ["plot_comparison"],
        ),
        (["--namespaces=comparison", "--tags=comparison"], ["write_comparison"]),
    ):
        done = kedro(project, "run", "--pipeline=full", *arguments)
        assert done.returncode == 0, done.stderr
        for node in nodes:
            assert f" {node} " in done.stdout
