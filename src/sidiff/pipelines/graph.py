"""Nodes by the names of their arguments: what Kedro is told of each function once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from inspect import signature
from typing import Any

from kedro.pipeline import Node

VALUES = {
    **{name: name for name in ("dataset", "recipe", "preset", "source", "storage")},
    "bootstrap": "comparison.bootstrap",
    "layout": "ingestion.layout",
    "max_history": "filtering.max_history",
    "method": "evaluation.method",
    "ray_address": "ray.address",
    "seeds": "evaluation.seeds",
}
"""Arguments that are single parameters, and the place of each in the configuration."""
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

    @property
    def name(self) -> str:
        """Name without the namespace."""
        return self.short_name

    def tag(self, tags: str | Iterable[str]) -> Node:
        """Return the node with further tags; Kedro's own copy would be a plain node.

        Every new pipeline tags its nodes.
        """
        tagged = copy(self)
        tagged._tags = super().tag(tags).tags
        return tagged


def node(
    stage: str,
    function: Callable[..., Any],
    outputs: str | list[str],
    *,
    name: str | None = None,
    tags: Iterable[str] = ("cpu",),
    **inputs: str,
) -> Node:
    """A node of the function's name, whose arguments have the names of their inputs.

    An argument is the data set of its name, or one of ``VALUES``, or (where its type
    says ``...Parameters``) the group of parameters of its name.

    Args:
        stage: the pipeline it belongs to, one of its tags.
        function: does the work.
        outputs: the data set that it returns, or those, in this order.
        name: where it is not the function's.
        tags: more, for ``kedro run --tags``.
        inputs: those of arguments with other names.
    """
    name = name or function.__name__
    return StageNode(
        function,
        [
            inputs.get(argument) or _input(argument, str(about.annotation))
            for argument, about in signature(function).parameters.items()
        ],
        outputs,
        name=name,
        tags=[stage, *tags],
        namespace=None if name in OUTSIDE else stage,
    )


def _input(argument: str, kind: str) -> str:
    if argument in VALUES:
        return f"params:{VALUES[argument]}"
    return f"params:{argument}" if kind.endswith("Parameters") else argument
