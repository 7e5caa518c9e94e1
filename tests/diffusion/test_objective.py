"""The loss against a literal loop over samples, views and digits."""

from __future__ import annotations

import pytest
import torch

from sidiff import reference
from sidiff.diffusion.objective import denoising_loss

B, V, L, K = 5, 3, 4, 6


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    masked = torch.rand(B, V, L) < 0.5
    masked[..., 0] |= ~masked.any(-1)
    return torch.randn(B, V, L, K), torch.randint(K, (B, L)), masked


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["per_view", "pooled", "sum"])
def test_loss_equals_the_definition(case, smoothing: float, reduction: str) -> None:
    loss = denoising_loss(*case, smoothing, reduction)
    expected = reference.denoising_loss(*case, smoothing, reduction)
    assert float(loss.total / loss.weight) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", ["per_view", "pooled", "sum"])
def test_parts_of_a_batch_add_up(case, reduction: str) -> None:
    logits, targets, masked = case
    whole = denoising_loss(logits, targets, masked, 0.1, reduction)
    parts = [
        denoising_loss(logits[i], targets[i], masked[i], 0.1, reduction)
        for i in (slice(0, 2), slice(2, B))
    ]
    total, weight = sum(p.total for p in parts), sum(p.weight for p in parts)
    torch.testing.assert_close(whole.total / whole.weight, total / weight)


def test_visible_digits_carry_no_gradient(case) -> None:
    logits, targets, masked = case
    logits.requires_grad_()
    denoising_loss(logits, targets, masked, 0.1, "per_view").total.backward()
    assert (logits.grad[~masked] == 0).all()
    assert (logits.grad[masked].abs().sum(-1) > 0).all()
