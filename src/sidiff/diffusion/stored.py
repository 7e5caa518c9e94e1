"""Networks read back from disk: refused where description and weights disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from sidiff.errors import SidiffError


class StoredNetwork(nn.Module):
    """A network that its configuration and its weights describe completely.

    Attributes:
        CONFIG: the configuration, a dataclass, from which the class is made.
        STORED: what it is stored as, and the pipeline that trains it: for messages.
        config: its shape and function.
    """

    CONFIG: ClassVar[type[Any]]
    STORED: ClassVar[tuple[str, str]]
    config: Any

    def saved_config(self) -> dict[str, Any]:
        """The configuration as JSON-able values, for ``from_saved``."""
        return asdict(self.config)

    @classmethod
    def from_saved(
        cls, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Self:
        """Rebuild a network, in evaluation mode.

        Args:
            weights: by name.
            config: see ``saved_config``; what else is stored with it is left out.

        Raises:
            SidiffError: the configuration is not complete, as in what another release
                stored, or the weights are those of another shape.
        """
        name, stage = cls.STORED
        again = (
            f"run kedro run --pipeline={stage} again, or choose another version with "
            "--load-versions"
        )
        known = fields(cls.CONFIG)
        missing = [
            field.name
            for field in known
            if field.name not in config and field.default is MISSING
        ]
        if missing:
            raise SidiffError(
                f"The stored {name} says nothing of its {', '.join(missing)}, so "
                f"another release of sidiff wrote it; {again}."
            )
        names = {field.name for field in known}
        values = {key: value for key, value in config.items() if key in names}
        network = cls(cls.CONFIG(**values))
        expected = network.state_dict()
        for key in sorted(expected.keys() | weights.keys()):
            has, wants = (
                tuple(w[key].shape) if key in w else None for w in (weights, expected)
            )
            if has != wants:
                raise SidiffError(
                    f"The stored {name}'s weights do not fit its configuration ({key} "
                    f"is {has or 'missing'} and should be {wants or 'missing'}); "
                    f"{again}."
                )
        network.load_state_dict(dict(weights))
        return network.eval()
