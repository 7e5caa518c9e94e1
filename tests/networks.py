"""Small networks of the papers' kind, a softmax for each digit, for any test."""

from __future__ import annotations

from typing import Any

import torch

from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig

SHAPE: dict[str, Any] = dict(
    max_history=10,
    d_model=16,
    heads=2,
    d_ff=16,
    encoder_layers=1,
    decoder_layers=1,
    dropout=0.0,
)
"""Shape of a network of any kind."""


def digit_network(
    digits: int, codebook_size: int, *, seed: int = 0, **changes: Any
) -> Denoiser:
    """A network in evaluation mode, with weights drawn by ``seed``."""
    options: dict[str, Any] = SHAPE | {"cross_pad": "sink"} | changes
    config = DenoiserConfig(digits=digits, codebook_size=codebook_size, **options)
    return Denoiser(config).initialize(torch.Generator().manual_seed(seed)).eval()
