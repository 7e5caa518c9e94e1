from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.io import AbstractVersionedDataset

from sidiff.pipeline_registry import PIPELINES

from .conftest import ROOT

LAYERS = (
    "01_raw",
    "02_intermediate",
    "03_primary",
    "04_feature",
    "05_model_input",
    "06_models",
    "07_model_output",
    "08_reporting",
)
RAW = {"raw_reviews", "raw_metadata"}
PLAIN = RAW | {"checkpoints", "embedding_shards", "unfinished_lists"}
"""Data sets without versions: files from outside, and unfinished work."""
NODES = {node.name: node for stage in PIPELINES.values() for node in stage.nodes}
DATASETS = sorted(
    name
    for name in set().union(*(stage.datasets() for stage in PIPELINES.values()))
    if not name.startswith(("params:", "parameters"))
)


@pytest.fixture(scope="module")
def entries(project: Path) -> dict[str, Any]:
    with KedroSession.create(project) as session:
        return dict(session.load_context().config_loader["catalog"])


def test_the_catalogue_holds_what_the_pipelines_use(entries: dict[str, Any]) -> None:
    assert sorted(entries) == DATASETS


@pytest.mark.parametrize("name", DATASETS)
def test_every_boundary_is_persisted_in_its_layer(
    entries: dict[str, Any], name: str
) -> None:
    entry = entries[name]
    layer = entry["metadata"]["kedro-viz"]["layer"]
    folder = PurePosixPath(entry["filepath"]).parts[:3]
    assert folder == ("data", layer, "sample")
    assert entry.get("versioned", False) is (name not in PLAIN)
    if name not in RAW:
        own_name = name.removeprefix("previous_")
        assert PurePosixPath(entry["filepath"]).stem == own_name


def test_every_versioned_data_set_is_one_to_kedro(project: Path) -> None:
    with KedroSession.create(project) as session:
        catalog = session.load_context().catalog
        for name in DATASETS:
            dataset = catalog.get(name)
            assert isinstance(dataset, AbstractVersionedDataset) == (name not in PLAIN)


def test_every_node_is_named_and_tagged_by_its_stage() -> None:
    for stage, pipeline in PIPELINES.items():
        for node in pipeline.nodes:
            assert node._name, node
            assert stage in node.tags
            assert len(node.tags & {"cpu", "gpu"}) == 1
            assert node.func is NODES[node.name].func


def test_every_data_layer_has_its_folder() -> None:
    for layer in LAYERS:
        assert (ROOT / "data" / layer / ".gitkeep").exists()


def test_every_value_has_a_comment() -> None:
    for path in (ROOT / "conf" / "base" / "parameters").glob("*.yml"):
        text = path.read_text()
        (group,) = yaml.safe_load(text)
        assert group == path.stem
        assert text.count("#") >= 2


def test_layers_follow_one_another() -> None:
    """Else kedro-viz draws none: no data set may lead back to an earlier layer."""
    order = {}
    for path in (ROOT / "conf" / "base").glob("catalog_0*.yml"):
        for name, entry in yaml.safe_load(path.read_text()).items():
            if name.startswith("_"):  # a pattern of entries
                continue
            order[name] = LAYERS.index(entry["metadata"]["kedro-viz"]["layer"])
    for node in NODES.values():
        sources = [order[name] for name in node.inputs if name in order]
        assert max(sources, default=0) <= min(order[name] for name in node.outputs)
