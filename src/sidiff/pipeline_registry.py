"""The pipelines of the project, by name.

Explicit rather than found by folder: Kedro's finder would look for a package named
``full``.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from kedro.pipeline import Node, Pipeline

STAGES = {
    name: import_module(f"sidiff.pipelines.{name}.pipeline")
    for name in (
        *("sample_data", "ingestion", "filtering", "embedding", "tokenization"),
        *("training", "evaluation", "packaging", "baselines", "comparison", "report"),
    )
}
"""The stages of ``full``, in their order."""

PIPELINES = STAGES | {
    name: import_module(f"sidiff.pipelines.{name}.pipeline")
    for name in ("recommend", "catalogue_update", "ablation")
}
"""All that can be run on its own."""


def stage_that_makes(dataset: str) -> str:
    """The stage of whose outputs a data set is one."""
    return next(
        stage
        for stage, module in PIPELINES.items()
        if dataset in module.create_pipeline().all_outputs()
    )


OUTSIDE = ("summarise_run",)
"""Nodes that stand beside their stage in kedro-viz.

They read the reports of other stages; inside the box of a stage that also writes model
output they would put the layers in a circle, and kedro-viz would draw none.
"""


class StageNode(Node):
    """A node with the namespace of its stage, and a name without it.

    Kedro-viz folds by namespace, and ``--namespaces`` selects by it. The names of nodes
    are unique in this project, so ``--nodes=train_denoiser`` needs no prefix.
    """

    def __init__(self, node: Node, stage: str) -> None:
        """Put ``node`` into ``stage``."""
        outputs = node.outputs
        super().__init__(
            node.func,
            node.inputs,
            # To Kedro a list of one output is a function that returns a list.
            outputs[0] if len(outputs) == 1 else outputs,
            name=node.short_name,
            tags=node.tags,
            namespace=stage,
        )

    @property
    def name(self) -> str:
        """Name without the namespace."""
        return self.short_name

    def tag(self, tags: str | Iterable[str]) -> Node:
        """Return the node with further tags; every new pipeline tags its nodes."""
        return StageNode(super().tag(tags), str(self.namespace))


def register_pipelines() -> dict[str, Pipeline]:
    """Return one pipeline per stage or study, and ``full`` for all stages."""
    stages = {name: _staged(name) for name in PIPELINES}
    full = sum((stages[name] for name in STAGES), Pipeline([]))
    return {**stages, "full": full, "__default__": full}


def _staged(stage: str) -> Pipeline:
    nodes = PIPELINES[stage].create_pipeline().nodes
    return Pipeline(
        [node if node.name in OUTSIDE else StageNode(node, stage) for node in nodes]
    )
