"""Device, precision and CPU threads of torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch

from sidiff.errors import SidiffError
from sidiff.parameters import Device, Precision


def resolve(device: Device) -> torch.device:
    """The device of a parameter; ``auto`` is a GPU if there is one.

    Raises:
        SidiffError: the name is unknown, or CUDA is not available.
    """
    if device not in get_args(Device):
        raise SidiffError(f"device is {device!r}; choose auto, cpu or cuda.")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise SidiffError(
            "device is 'cuda' but torch sees no CUDA device; set it to 'auto' or 'cpu'."
        )
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def products_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Compute matrix products in ``precision`` inside the block; float32 in and out."""
    lowered = precision != "float32"
    return torch.autocast(device.type, torch.bfloat16, enabled=lowered)


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Let torch use ``threads`` CPU threads inside the block; 0 changes nothing.

    Sums are split by thread, so the number changes the last bits of a result. A small
    network gains little from several threads. It loses much when another program uses a
    core, because all threads of an operation wait for the slowest.
    """
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
