"""Lineage: SHA-256 of the ancestors of files, compared before a node runs.

Stages run separately and versions can be pinned, so the inputs of a node may come from
different versions of one data set. Such a node does not run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from sidiff.datasets import Previous, Stamp, Stored
from sidiff.errors import SidiffError
from sidiff.fingerprints import short
from sidiff.mlflow_hooks import versioned
from sidiff.pipeline_registry import stage_that_makes

logger = logging.getLogger(__name__)

TRAINED = {
    *("denoiser", "training_history", "masking_history", "seed_denoisers"),
    *("variant_denoisers", "variant_history"),
}
"""Trained data sets. They stay valid for an extended SID table and newer sequences, so
their ancestors are only compared with each other.
"""


class LineageHooks:
    """Hooks that compare the stamps of a node's inputs and stamp its outputs."""

    def __init__(self) -> None:
        self._outputs: dict[str, tuple[Stored, dict[str, str]]] = {}

    # First, so that other hooks do not log a node that is refused.
    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Node, catalog: DataCatalog) -> None:
        """Check that the inputs have the same ancestors.

        Raises:
            SidiffError: names two inputs, and the ancestor that differs.
        """
        inputs = versioned(set(node.inputs), catalog)
        stamped: dict[str, tuple[Stamp, str]] = {}
        previous: dict[str, Previous] = {}
        for name, dataset in inputs.items():
            if isinstance(dataset, Previous):
                previous[name.removeprefix("previous_")] = dataset
            elif (stamp := dataset.stamp()) is not None:
                stamped[name] = stamp, dataset.resolve_load_version()
        _ignore_unrelated(previous)
        made_of = joined(stamped)
        for name, dataset in versioned(set(node.outputs), catalog).items():
            dataset.made_of = made_of
            self._outputs[name] = dataset, made_of

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Add this output to the ancestors of the node's later outputs."""
        if dataset_name in self._outputs:
            dataset, made_of = self._outputs.pop(dataset_name)
            if dataset.sha256:
                made_of[dataset_name] = dataset.sha256


def joined(stamped: Mapping[str, tuple[Stamp, str]]) -> dict[str, str]:
    """Join the SHA-256 of data sets and all their ancestors, by name.

    Args:
        stamped: stamp and version of each data set, by name.

    Raises:
        SidiffError: two data sets were made of different versions of an ancestor.
    """
    found: dict[bool, dict[str, tuple[str, str]]] = {True: {}, False: {}}
    made_of = {name: stamp.sha256 for name, (stamp, _) in stamped.items()}
    for name, (stamp, _) in stamped.items():
        if name not in TRAINED:
            made_of |= stamp.made_of
        for ancestor, digest in {**stamp.made_of, name: stamp.sha256}.items():
            known = found[bool({name, ancestor} & TRAINED)]
            other_digest, other = known.setdefault(ancestor, (digest, name))
            if other_digest != digest:
                (older, its), (newer, other_its) = sorted(
                    {name: digest, other: other_digest}.items(),
                    key=lambda pair: stamped[pair[0]][1],
                )
                raise SidiffError(
                    f"The stored {older} and {newer} were made from different versions "
                    f"of {ancestor} ({short(its)}, {short(other_its)}); run kedro run "
                    f"--pipeline={stage_that_makes(older)} again, or choose matching "
                    "--load-versions."
                )
    return made_of


def _ignore_unrelated(previous: Mapping[str, Previous]) -> None:
    """Ignore previous outputs of a node unless they were made together.

    A crash between two outputs leaves one newer than the other, which is harmless if
    its content is unchanged.
    """
    stamps = {
        name: stamp
        for name, dataset in previous.items()
        if (stamp := dataset.stamp()) is not None
    }
    together = all(
        digest == stamps[name].sha256
        for stamp in stamps.values()
        for name, digest in stamp.made_of.items()
        if name in stamps
    )
    if not together:
        logger.warning(
            "The stored %s were not made together and are not extended",
            ", ".join(stamps),
        )
    for dataset in previous.values():
        dataset.ignored = not together
