"""What every stored file was made of, noted when it is written and compared when read.

The stamp beside a file names the data sets it was made of, near and far, by their
content. Stages run apart and versions can be pinned, so the inputs of a node may not
belong together: then it does not run.
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
    *("variant_denoisers", "variant_history"),
}
"""What may be older than the data sets it is used with.

Its own inputs are compared among themselves alone: a network serves a table that was
extended since (``check_trained_on``), and newer sequences.
"""


class LineageHooks:
    """Stamps of a node's inputs compared, and handed on to its outputs."""

    def __init__(self) -> None:
        self._outputs: dict[str, tuple[Stored, dict[str, str]]] = {}

    # Before whatever takes the node as begun.
    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Node, catalog: DataCatalog) -> None:
        """Refuse inputs that do not belong together.

        Raises:
            SidiffError: names two of them, and what they are of.
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
        """Tie what the node still has to store to this output."""
        if dataset_name in self._outputs:
            dataset, made_of = self._outputs.pop(dataset_name)
            if dataset.sha256:
                made_of[dataset_name] = dataset.sha256


def joined(stamped: Mapping[str, tuple[Stamp, str]]) -> dict[str, str]:
    """What goes into something made of these data sets, each by its SHA-256.

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
