"""Decoders by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sidiff.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

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
        excluded: Tensor,
    ) -> Decoded:
        """Decode; see ``sidiff.decoding.cpd.decode``."""


DECODERS: Registry[Decoder] = Registry(
    cpd="sidiff.decoding.cpd:decode",
    two_stage="sidiff.decoding.two_stage:decode",
    adaptive="sidiff.decoding.adaptive:decode",
    one_pass="sidiff.decoding.one_pass:decode",  # noqa: S106 (no password)
)
