"""Networks read back from disk: refused where description and weights disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from torch import Tensor, nn

from sidiff.errors import SidiffError

Config = TypeVar("Config")


def read_config(
    kind: type[Config], stored: Mapping[str, Any], name: str, stage: str
) -> Config:
    """Rebuild a network's configuration; what else is stored with it is left out.

    Args:
        kind: the configuration, a dataclass.
        stored: its values by name.
        name: of the network, for messages.
        stage: the pipeline that trains it.

    Raises:
        SidiffError: a value is missing, as in what another release stored.
    """
    known = fields(kind)  # type: ignore[arg-type]
    missing = [
        field.name
        for field in known
        if field.name not in stored
        and field.default is MISSING
        and field.default_factory is MISSING
    ]
    if missing:
        raise SidiffError(
            f"The stored {name} says nothing of its {', '.join(missing)}, so another "
            f"release of sidiff wrote it; {_again(stage)}."
        )
    names = {field.name for field in known}
    return kind(**{key: value for key, value in stored.items() if key in names})


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], name: str, stage: str
) -> None:
    """Put stored weights into a network; the other arguments as for ``read_config``.

    Raises:
        SidiffError: they are those of another shape of network; names the first one.
    """
    expected = model.state_dict()
    for key in sorted(expected.keys() | weights.keys()):
        has, wants = (
            tuple(w[key].shape) if key in w else None for w in (weights, expected)
        )
        if has != wants:
            raise SidiffError(
                f"The stored {name}'s weights do not fit its configuration ({key} is "
                f"{has or 'missing'} and should be {wants or 'missing'}); "
                f"{_again(stage)}."
            )
    model.load_state_dict(dict(weights))


def _again(stage: str) -> str:
    return (
        f"run kedro run --pipeline={stage} again, or choose another version with "
        "--load-versions"
    )
