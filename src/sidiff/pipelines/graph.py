"""Nodes by the names of their arguments: what Kedro is told of each function once."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from kedro.pipeline import Node

GPU = ("gpu", "expensive")
"""Tags of nodes that a GPU makes faster and that take most of a run."""
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


def node(
    function: Callable[..., Any],
    *outputs: str,
    name: str | None = None,
    tags: str | tuple[str, ...] = "cpu",
    **inputs: str,
) -> Node:
    """A node of the function's name, whose arguments have the names of their inputs.

    An argument is the data set of its name, or one of ``VALUES``, or (where its type
    says ``...Parameters``) the group of parameters of its name.

    Args:
        function: does the work.
        outputs: data sets that it returns, in this order.
        name: where it is not the function's.
        tags: for ``kedro run --tags``.
        inputs: those of arguments with other names.
    """
    return Node(
        function,
        [
            inputs.get(argument) or _input(argument, str(about.annotation))
            for argument, about in signature(function).parameters.items()
        ],
        # To Kedro a list of one output is a function that returns a list.
        outputs[0] if len(outputs) == 1 else list(outputs),
        name=name or function.__name__,
        tags=tags,
    )


def _input(argument: str, kind: str) -> str:
    if argument in VALUES:
        return f"params:{VALUES[argument]}"
    return f"params:{argument}" if kind.endswith("Parameters") else argument
