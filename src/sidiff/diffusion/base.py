"""Base classes of the networks: storage, and the table of code vectors.

Symbols: B batch, V views or beams, L digits, K codes, d d_model, n packed tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from sidiff.diffusion.blocks import BlockShape, DecoderLayer, Packing
from sidiff.diffusion.settings import NetworkParameters
from sidiff.errors import SidiffError
from sidiff.parameters import Precision

INITIAL_STD = 0.02


class StoredNetwork(nn.Module):
    """A network that its configuration and its weights describe completely.

    Attributes:
        CONFIG: the dataclass of the configuration.
        STORED: name of the stored network and of the pipeline that trains it, for
            messages.
        config: shape and function of the network.
    """

    CONFIG: ClassVar[type[Any]]
    STORED: ClassVar[tuple[str, str]]
    config: Any

    def saved_config(self) -> dict[str, Any]:
        """The configuration as JSON values, the input of ``from_saved``."""
        return asdict(self.config)

    def initialize(self, generator: torch.Generator) -> Self:
        """Draw all weights: Normal(0, 0.02) for matrices and tables, zero biases."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0.0, INITIAL_STD, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.ones_(parameter)
        return self

    @classmethod
    def from_saved(
        cls, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Self:
        """Rebuild a network, in evaluation mode.

        Args:
            weights: by name.
            config: see ``saved_config``; other keys are ignored.

        Raises:
            SidiffError: the configuration is incomplete, for example that of another
                release, or does not fit the weights.
        """
        title, stage = cls.STORED
        again = (
            f"run kedro run --pipeline={stage} again, or choose another version with "
            "--load-versions"
        )
        known = {field.name: field.default for field in fields(cls.CONFIG)}
        missing = [
            name
            for name, default in known.items()
            if name not in config and default is MISSING
        ]
        if missing:
            raise SidiffError(
                f"The stored {title} lacks {', '.join(missing)} in its configuration: "
                f"another release of sidiff wrote it; {again}."
            )
        values = {key: value for key, value in config.items() if key in known}
        network = cls(cls.CONFIG(**values))
        expected = network.state_dict()
        for key in sorted(expected.keys() | weights.keys()):
            shape, needed = (
                tuple(w[key].shape) if key in w else None for w in (weights, expected)
            )
            if shape != needed:
                raise SidiffError(
                    f"The stored {title}'s weights do not fit its configuration ({key} "
                    f"is {shape or 'missing'} and should be {needed or 'missing'}); "
                    f"{again}."
                )
        network.load_state_dict(dict(weights))
        return network.eval()


@dataclass(frozen=True, kw_only=True)
class SidConfig(BlockShape):
    """Shape of SIDs, of histories and of the network."""

    digits: int
    codebook_size: int
    max_history: int
    encoder_layers: int
    decoder_layers: int

    @classmethod
    def build(
        cls,
        network: NetworkParameters,
        digits: int,
        codebook_size: int,
        max_history: int,
        **more: Any,
    ) -> Self:
        """The configuration of the network's parameters for SIDs and histories."""
        shape = network.model_dump(include={field.name for field in fields(cls)})
        return cls(
            digits=digits,
            codebook_size=codebook_size,
            max_history=max_history,
            **shape,
            **more,
        )


class SidNetwork(StoredNetwork):
    """A network with a table of code vectors.

    Attributes:
        config: shape and function of the network.
        codes: vectors of the codes, digit by digit, ``(L * K, d)``.
        first_row: first row of each digit in ``codes``, ``(L,)``.
        precision: of the products in encoder and decoder. Products that give logits are
            always float32, so that close codes and items remain distinct.
    """

    config: SidConfig
    decoder: nn.ModuleList
    first_row: Tensor

    def __init__(self, config: SidConfig) -> None:
        super().__init__()
        self.config = config
        self.precision: Precision = "float32"
        rows = config.digits * config.codebook_size
        self.codes = nn.Parameter(torch.empty(rows, config.d_model))
        first_row = torch.arange(config.digits) * config.codebook_size
        self.register_buffer("first_row", first_row, persistent=False)

    @property
    def tables(self) -> Tensor:
        """Code vectors ``(L, K, d)``."""
        return self.codes.view(self.config.digits, self.config.codebook_size, -1)

    def code_logits(self, x: Tensor) -> Tensor:
        """Logits of codes ``(B, V, L, K)``: products of ``x`` ``(B, V, L, d)``."""
        tokens = x.flatten(0, 1).transpose(0, 1)
        logits = torch.bmm(tokens, self.tables.transpose(1, 2))
        return logits.transpose(0, 1).unflatten(0, x.shape[:2])

    def project_memory(
        self, hidden: Tensor, packing: Packing
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Keys and values per decoder layer, of packed hidden states ``(n, d)``."""
        layers = cast(Iterable[DecoderLayer], self.decoder)
        pairs = [one.cross_attention.project_memory(hidden, packing) for one in layers]
        keys, values = zip(*pairs, strict=True)
        return keys, values
