"""Checks that the inputs of a node belong together.

The stamp of a stored file names all data sets that it was made of, by their SHA-256.
Stages run apart and versions can be pinned, so inputs may be of different contents of
the same data set: then the node does not run.
"""

from __future__ import annotations

from collections.abc import Mapping

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline.node import Node

from sidiff.datasets import Stamp, Stored
from sidiff.errors import SidiffError
from sidiff.fingerprints import short
from sidiff.pipeline_registry import stage_that_makes
from sidiff.tracked import versioned

TRAINED = {
    *("denoiser", "training_history", "masking_history", "seed_denoisers"),
    *("variant_denoisers", "variant_history", "variant_masking"),
}
"""Data sets that may be older than those they are used with.

Their inputs are compared among themselves only: a network serves a table that was
extended since (``check_trained_on``), and newer sequences.
"""


class LineageHooks:
    """Comparison of the stamps of a node's inputs, and stamps for its outputs."""

    def __init__(self) -> None:
        self._outputs: dict[str, tuple[Stored, dict[str, str]]] = {}

    # Before other hooks count the node as started.
    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Node, catalog: DataCatalog) -> None:
        """Refuse inputs that do not belong together.

        Raises:
            SidiffError: names two of them, and the data set that differs.
        """
        stamped = {
            name: (stamp, dataset.resolve_load_version())
            for name, dataset in versioned(set(node.inputs), catalog).items()
            if (stamp := dataset.stamp()) is not None
        }
        made_of = joined(stamped)
        for name, dataset in versioned(set(node.outputs), catalog).items():
            dataset.made_of = made_of
            self._outputs[name] = dataset, made_of

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Add this output to the stamps of the node's later outputs."""
        if dataset_name in self._outputs:
            dataset, made_of = self._outputs.pop(dataset_name)
            if dataset.sha256:
                made_of[dataset_name] = dataset.sha256


def joined(stamped: Mapping[str, tuple[Stamp, str]]) -> dict[str, str]:
    """Return the SHA-256 of all data sets behind these, by name.

    Args:
        stamped: the stamp and the version of each data set, by its name.

    Raises:
        SidiffError: two of them are of different contents of the same data set.
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
                older, newer = sorted((name, other), key=lambda one: stamped[one][1])
                raise SidiffError(
                    f"The stored {older} and {newer} do not belong together (of "
                    f"{ancestor} {short(digest)} and {short(other_digest)}); run kedro "
                    f"run --pipeline={stage_that_makes(older)} again, or choose "
                    "matching --load-versions."
                )
    return made_of
