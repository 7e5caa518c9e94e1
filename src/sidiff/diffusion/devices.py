"""Where tensors live."""

from __future__ import annotations

import torch

from sidiff.errors import SidiffError
from sidiff.parameters import Device


def resolve(device: Device) -> torch.device:
    """The device that a parameter names; ``auto`` takes a GPU when there is one.

    Raises:
        SidiffError: CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise SidiffError(
            "device is 'cuda' but torch sees no CUDA device; set it to 'auto' or 'cpu'."
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")
