"""Texts encoded on a Ray cluster, by Ray Data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidiff.engines.cluster import cluster, mapped
from sidiff.errors import SidiffError
from sidiff.parameters import Device, Precision
from sidiff.sids.encoder import SentenceEncoder, load_encoder


class RayEncoder:
    """An encoder of which every process of a cluster holds a copy.

    As ``sidiff.sids.encoder.Encoder`` asks. The vectors are those of the encoder that
    is given; what decides them is compared on each process.
    """

    def __init__(
        self, local: SentenceEncoder, device: Device, workers: int, address: str | None
    ) -> None:
        """Spread the work of an encoder.

        Args:
            local: the encoder, for what this process needs of it.
            device: of each copy: "auto", "cpu" or "cuda".
            workers: number of copies.
            address: see ``cluster``.
        """
        self.fingerprint, self.dimension = local.fingerprint, local.dimension
        self.lengths = local.lengths
        self._name, self._precision = local.name, local.precision
        self._device = device
        self._workers, self._address = workers, address

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Encode batches of texts, in order: (n, d) float32 of each."""
        with cluster(self._address, self._workers) as ray:
            rows = [{"texts": list(batch)} for batch in batches]
            arguments = (self._name, self._device, self._precision, self.fingerprint)
            for row in mapped(ray, rows, _Copy, arguments, self._workers, self._device):
                yield row["vectors"]


class _Copy:
    """The encoder, in a process of the cluster."""

    def __init__(
        self, name: str, device: Device, precision: Precision, fingerprint: str
    ) -> None:
        self._encoder = load_encoder(name, device, precision)
        if self._encoder.fingerprint != fingerprint:
            raise SidiffError(
                f"The encoder {name!r} of a machine of the cluster "
                f"({self._encoder.fingerprint[:12]}) is not the one of this machine "
                f"({fingerprint[:12]}); install the same version on all of them."
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        (vectors,) = self._encoder.encode([list(row["texts"])])
        return {"vectors": vectors}
