"""The two networks, and their reconstruction from storage.

``Denoiser`` is the papers' network with a softmax per digit; ``JointDenoiser`` has one
posterior over items, of which digits are marginals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.joint import JointDenoiser

Network = Denoiser | JointDenoiser


def network_from_saved(
    weights: Mapping[str, Tensor], config: Mapping[str, Any]
) -> Network:
    """Rebuild a network, in evaluation mode, from weights and configuration.

    Raises:
        SidiffError: the configuration is incomplete or does not fit the weights.
    """
    if "residual_items" in config:
        return JointDenoiser.from_saved(weights, config)
    return Denoiser.from_saved(weights, config)
