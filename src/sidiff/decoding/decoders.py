"""Decoders by name."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from sidiff.decoding import adaptive, cpd, one_pass, two_stage
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.results import Decoded
from sidiff.decoding.settings import DecodingParameters
from sidiff.diffusion.denoiser import DenoisingModel


class Decoder(Protocol):
    """From a batch of encoded histories to complete SIDs."""

    def __call__(
        self,
        denoiser: DenoisingModel,
        memory: Any,
        parameters: DecodingParameters,
        catalogue: Catalogue,
        blocked: Tensor,
    ) -> Decoded:
        """Decode; see ``sidiff.decoding.cpd.decode``."""


DECODERS: dict[str, Decoder] = {
    "cpd": cpd.decode,
    "two_stage": two_stage.decode,
    "adaptive": adaptive.decode,
    "one_pass": one_pass.decode,
}
