"""Nodes whose inputs follow from the names of their functions' arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from inspect import signature
from typing import Any

from kedro.pipeline import Node

VALUES = {
    **{name: name for name in ("dataset", "source", "storage")},
    "bootstrap": "comparison.bootstrap",
    "layout": "ingestion.layout",
    "max_history": "filtering.max_history",
    "ray_address": "ray.address",
    "seeds": "evaluation.seeds",
}
"""Arguments that are single parameters: the place of each in the configuration."""


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
    """Make a node with the function's name and inputs named after its arguments.

    An argument is the data set of its name, one of ``VALUES``, or, where its type is
    ``...Parameters``, the group of parameters of its name.

    Args:
        stage: the pipeline that the node belongs to.
        function: does the work.
        outputs: the data sets that it returns, in this order.
        name: name of the node where it differs from the function's.
        tags: tags in addition to the stage.
        inputs: the data sets of arguments with other names.
    """
    return StageNode(
        function,
        [
            inputs.get(argument) or _input(argument, str(about.annotation))
            for argument, about in signature(function).parameters.items()
        ],
        outputs,
        name=name or function.__name__,
        tags=[stage, *tags],
        namespace=stage,
    )


def _input(argument: str, kind: str) -> str:
    if argument in VALUES:
        return f"params:{VALUES[argument]}"
    return f"params:{argument}" if kind.endswith("Parameters") else argument
