"""Dropout: how often, how evenly, and with the right expectation."""

from __future__ import annotations

import pytest
import torch

from sidiff.diffusion.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.0001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1_000_003,), (401, 7, 356)])
def test_masks_drop_with_the_stated_chance_wherever_they_lie(p, shape) -> None:
    torch.manual_seed(0)
    mask = keep_mask(torch.empty(shape), p)
    assert mask.shape == shape
    kept = mask > 0
    assert mask[kept].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-3)
    # Each of the four lanes of a draw, and pairs of neighbours.
    flat = (~kept).flatten().float()
    spread = 6 * (p * (1 - p) / (len(flat) / 4)) ** 0.5
    for lane in range(4):
        assert abs(float(flat[lane::4].mean()) - p) < spread
    assert abs(float((flat[1:] * flat[:-1]).mean()) - p * p) < spread
    assert float(mask.double().mean()) == pytest.approx(1, abs=spread / (1 - p))


def test_gradients_pass_where_values_did() -> None:
    torch.manual_seed(1)
    x = torch.randn(50, 40, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(y, x * x.grad)
    assert set((x.grad > 0).flatten().tolist()) == {True, False}


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    x = torch.randn(20)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_seed_decides() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(keep_mask(torch.empty(999), 0.4))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
