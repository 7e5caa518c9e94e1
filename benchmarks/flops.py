"""Floating-point operations of a function, and those of the machine per second.

Only matrix products and attention are counted, a multiply-add as two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from benchmarks.common import Contestant, timed
from sidiff.onednn import product


def _linear(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * int(weight[0])


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


# Operators that torch's counter does not know.
_OTHERS = {
    torch.ops.mkldnn._linear_pointwise: _linear,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
}


def count(work: Callable[[], object]) -> int:
    """Floating-point operations that ``work`` does."""
    counter = FlopCounterMode(display=False, custom_mapping=_OTHERS)
    with counter:
        work()
    return int(counter.get_total_flops())


def matmuls(size: int) -> dict[str, Contestant]:
    """Square float32 products by torch and by oneDNN: what the machine reaches."""
    left, right = torch.rand(size, size), torch.rand(size, size)
    return {
        "matmul (torch)": timed(lambda: left @ right),
        "matmul (oneDNN)": timed(lambda: product(left, right)),
    }


def matmul_flops(size: int) -> int:
    """Of one product of ``matmuls``."""
    return 2 * size**3
