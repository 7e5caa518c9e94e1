"""Inputs of two runs put together, node by node and input by input.

Every data set stands for its content by a line of JSON: what is compared are stamps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.io import DataCatalog
from kedro.io.core import Version
from kedro.pipeline.node import Node

from sidiff.datasets import Model, PreviousModel, SafetensorsDataset
from sidiff.datasets.whole import JsonDataset
from sidiff.errors import SidiffError
from sidiff.lineage import TRAINED, LineageHooks
from sidiff.pipeline_registry import STAGES, register_pipelines, stage_that_makes

from .bad_cases import assert_one_sentence

FIRST, SECOND = "2026-01-01", "2026-01-02"
RAW = {"raw_reviews", "raw_metadata"}
FOLDERS = {"bundle", "recommendations"}
PIPELINES = register_pipelines()
NODES = [
    node
    for name in ("full", "ablation", "recommend", "catalogue_update")
    for group in PIPELINES[name].grouped_nodes
    for node in group
    if name == "full" or stage_that_makes(node.outputs[0]) == name
]
STORED = {name for node in NODES for name in node.outputs} - RAW - FOLDERS
OF_NETWORKS = set(TRAINED)
for one in NODES:
    if OF_NETWORKS & set(one.inputs):
        OF_NETWORKS |= set(one.outputs)


def inputs(node: Node) -> list[str]:
    return [name for name in node.inputs if name in STORED]


def catalog(folder: Path, version: str, **others: str) -> DataCatalog:
    """What ``version`` stored; of ``others``, another version is loaded."""
    return DataCatalog(
        {
            name: JsonDataset(
                filepath=f"{folder}/{name}.json",
                version=Version(others.get(name, version), version),
            )
            for name in STORED
        }
    )


def run(node: Node, data: DataCatalog, content: Any) -> None:
    hooks = LineageHooks()
    hooks.before_node_run(node, data)
    for name in node.outputs:
        if name in STORED:
            data.save(name, [name, content])
        hooks.after_dataset_saved(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two complete runs over different raw files."""
    place = tmp_path_factory.mktemp("lineage")
    for version in (FIRST, SECOND):
        data = catalog(place, version)
        for node in NODES:
            run(node, data, version)
    return place


def mixes() -> Iterator[tuple[Node, str]]:
    """Every node with every input that another one can be compared with."""
    for node in NODES:
        for name in inputs(node):
            beside = {other for other in inputs(node) if other != name}
            apart = OF_NETWORKS if name in TRAINED else STORED - TRAINED
            if name in OF_NETWORKS:
                apart = apart | OF_NETWORKS
            if beside & apart:
                yield node, name


MIXES = list(mixes())


@pytest.mark.parametrize(
    ("node", "name"), MIXES, ids=[f"{node.name}, {name}" for node, name in MIXES]
)
def test_one_input_of_another_run_is_refused(
    folder: Path, node: Node, name: str
) -> None:
    with pytest.raises(
        SidiffError, match="were made from different versions"
    ) as raised:
        LineageHooks().before_node_run(node, catalog(folder, SECOND, **{name: FIRST}))
    told = str(raised.value)
    assert_one_sentence(told)
    assert f" {name} " in told
    # The older one is made again.
    assert f"--pipeline={stage_that_makes(name)} again" in told
    assert "--load-versions" in told


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_inputs_of_one_run_belong_together(folder: Path, node: Node) -> None:
    for version in (FIRST, SECOND):
        LineageHooks().before_node_run(node, catalog(folder, version))


def test_most_inputs_are_compared() -> None:
    """But networks alone with tables, and what is a node's only input."""
    every = {(node.name, name) for node in NODES for name in inputs(node)}
    left = every - {(node.name, name) for node, name in MIXES}
    alone = {node.name for node in NODES if len(inputs(node)) == 1}
    assert {name for node, name in left if node not in alone} <= TRAINED
    assert len(MIXES) > len(NODES)
    assert {node.name for node in PIPELINES["full"].nodes} <= {n.name for n in NODES}
    assert len(STAGES) == 11


def test_older_networks_serve_newer_tables(folder: Path) -> None:
    """As after an extension; what they rank is of both, and of nothing older."""
    (node,) = [one for one in NODES if one.name == "evaluate_denoiser"]
    older = dict.fromkeys(TRAINED, FIRST)
    hooks, data = LineageHooks(), catalog(folder, SECOND, **older)
    hooks.before_node_run(node, data)
    made_of = data["metrics"].made_of
    tables = ("sequences", "sid_table", "quantizer_input", "interactions")
    for name in (*tables, "denoiser", "seed_denoisers"):
        version = FIRST if name in TRAINED else SECOND
        stamp = catalog(folder, version)[name].stamp()
        assert made_of[name] == stamp.sha256
        assert stamp.made_of.get(name) is None


def test_the_same_again_is_the_same(folder: Path, tmp_path: Path) -> None:
    """A stage that gives what it gave before leaves later ones as they are."""
    data = catalog(tmp_path, FIRST)
    for node in NODES:
        run(node, data, FIRST)
    (filtering,) = [one for one in NODES if one.name == "build_sequences"]
    older = dict.fromkeys(inputs(filtering), FIRST)
    run(filtering, catalog(tmp_path, SECOND, **older), FIRST)
    (training,) = [one for one in NODES if one.name == "train_denoiser"]
    newer = dict.fromkeys(set(filtering.outputs) & set(training.inputs), SECOND)
    assert len(newer) == 3
    LineageHooks().before_node_run(training, catalog(tmp_path, FIRST, **newer))


def test_what_has_no_stamp_is_taken_as_it_is(tmp_path: Path) -> None:
    data = catalog(tmp_path, FIRST)
    for name in ("sequences", "catalogue"):
        data.save(name, name)
    for stamp in tmp_path.glob("*/*.stamp.json"):
        stamp.unlink()
    (node,) = [one for one in NODES if one.name == "plot_training"]
    for name in node.inputs:
        data.save(name, {})
    LineageHooks().before_node_run(node, data)


def test_previous_outputs_count_together_or_not_at_all(tmp_path: Path) -> None:
    """After a crash between two outputs, unless their content is as before."""
    (node,) = [one for one in NODES if one.name == "assign_sids"]
    names = ["whitening", "quantizer", "sid_table"]

    def store(version: str, value: float, names: list[str]) -> None:
        made_of: dict[str, str] = {}
        for name in names:
            place = Version(None, version)
            dataset = SafetensorsDataset(f"{tmp_path}/{name}", place)
            dataset.made_of = made_of
            dataset.save(Model({"x": np.full(1, value)}, {}))
            made_of[name] = dataset.sha256

    def extended() -> bool:
        data = catalog(tmp_path, FIRST)
        for name in names:
            place = Version(None, FIRST)
            data[f"previous_{name}"] = PreviousModel(f"{tmp_path}/{name}", place)
        LineageHooks().before_node_run(node, data)
        found = {data.load(f"previous_{name}") is not None for name in names}
        assert len(found) == 1
        return found.pop()

    assert not extended()
    store("1", 1.0, names)
    assert extended()
    store("2", 1.0, names[:1])
    assert extended()
    store("3", 2.0, names[:1])
    assert not extended()
    store("4", 2.0, names)
    assert extended()
