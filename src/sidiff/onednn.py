"""Linear layers on CPUs by oneDNN, for training and inference.

PyTorch multiplies float32 matrices with MKL, which is slow on processors of other
vendors. oneDNN, which PyTorch also contains, is more than twice as fast there (AMD
EPYC: 225 against 90 GFLOP/s per core). The results agree to float32 rounding;
``torch.nn.functional.linear`` is the fallback and test oracle.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Linear(nn.Linear):
    """``nn.Linear``, through oneDNN where that applies."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, through oneDNN for float32 on the CPU.

    Args:
        x: ``(..., in)``.
        weight: ``(out, in)``.
        bias: ``(out,)`` or none.
    """
    if not _applies(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _OneDnnLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return _product(x, weight, bias)


class _OneDnnLinear(torch.autograd.Function):
    """The product and both of its gradients by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _product(rows, weight.t(), None).view_as(x)
        if ctx.needs_input_grad[1]:
            for_weight = _product(rows.t(), x.reshape(-1, weight.shape[1]).t(), None)
        if ctx.biased and ctx.needs_input_grad[2]:
            for_bias = rows.sum(0)
        return for_x, for_weight, for_bias


def product(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` without gradient; shapes as of ``linear``.

    For code that computes its gradients itself, or needs none.
    """
    with torch.no_grad():
        return linear(x, weight)


def _applies(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and available()
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@cache
def available() -> bool:
    """Test that this build of PyTorch has the operator, which is undocumented."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    )


def use_onednn(model: nn.Module) -> None:
    """Run the linear layers of another library's model through oneDNN, in place."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
