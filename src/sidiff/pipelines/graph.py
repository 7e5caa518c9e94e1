"""Nodes with inputs by the names of their functions' arguments."""

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
"""Configuration paths of arguments that are single parameters."""


class StageNode(Node):
    """A node in the namespace of its stage, with a name without the namespace.

    Kedro-viz folds by namespace, and ``--namespaces`` selects by it. Node names are
    unique in this project, so ``--nodes=train_denoiser`` needs no prefix.
    """

    @property
    def name(self) -> str:
        """Name without the namespace."""
        return self.short_name

    def tag(self, tags: str | Iterable[str]) -> Node:
        """Return the node with further tags, as a ``StageNode``.

        Pipelines call this, and Kedro's method returns a plain ``Node``.
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

    An argument is the data set of its name or one of ``VALUES``. If its type is
    ``...Parameters``, it is the group of parameters of its name.

    Args:
        stage: pipeline of the node.
        function: the node's function.
        outputs: data sets of its results, in this order.
        name: name of the node if not the function's.
        tags: tags in addition to the stage.
        inputs: data sets of arguments with other names.
    """
    return StageNode(
        function,
        [
            inputs.get(name) or _input(name, str(parameter.annotation))
            for name, parameter in signature(function).parameters.items()
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
