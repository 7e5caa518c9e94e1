"""Noising strategies against loops that follow the papers' wording."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from sidiff import reference
from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.noising import AMOUNTS, ORDERS, amounts, masked_digits, orders
from sidiff.diffusion.noising.amounts import curriculum_chances, view_sizes
from sidiff.diffusion.noising.context import NoisingContext, confidence_probe
from sidiff.diffusion.noising.orders import history_counts
from sidiff.diffusion.settings import NoisingParameters
from sidiff.errors import SidiffError
from tests.settings import settings

from ..networks import digit_network

BATCH, DIGITS, CODES = 200, 4, 6


def parameters(**changes: object) -> NoisingParameters:
    """DiffGRM's noising unless changed."""
    base = settings("training")["noising"] | {"views": DIGITS, "probe_kv": "projected"}
    return NoisingParameters.model_validate(base | changes)


def context(
    probe: object = None,
    seed: int = 0,
    batch: int = BATCH,
    digits: int = DIGITS,
    progress: float = 1.0,
    **tensors: Tensor,
) -> NoisingContext:
    data = torch.Generator().manual_seed(99)
    given = {
        "targets": torch.randint(CODES, (batch, digits), generator=data),
        "history": torch.randint(CODES, (batch, 5, digits), generator=data),
        "lengths": torch.randint(1, 6, (batch,), generator=data),
    } | tensors
    return NoisingContext(
        **given,
        progress=progress,
        probe=probe,
        generator=torch.Generator().manual_seed(seed),
    )


def fixed_probe(confidence: Tensor):
    return lambda masked: confidence


def test_ocn_masks_the_first_digits_of_the_models_own_order() -> None:
    confidence = torch.rand(BATCH, DIGITS, generator=torch.Generator().manual_seed(5))
    masked = masked_digits(context(fixed_probe(confidence)), parameters())
    assert masked.shape == (BATCH, DIGITS, DIGITS)
    sizes = reference.view_sizes(DIGITS, DIGITS)
    for row, views in zip(confidence.tolist(), masked, strict=True):
        found = [set(view.nonzero().flatten().tolist()) for view in views]
        assert found == reference.ocn(row, sizes)


def test_ocn_breaks_ties_by_digit() -> None:
    masked = masked_digits(
        context(fixed_probe(torch.ones(BATCH, DIGITS))), parameters()
    )
    expected = torch.ones(DIGITS, DIGITS, dtype=torch.bool).tril()
    assert (masked == expected).all()


def test_views_in_random_order_draw_their_own() -> None:
    masked = masked_digits(context(batch=6000), parameters(order="random"))
    assert (masked.sum(2) == torch.arange(1, DIGITS + 1)).all()
    first = masked[:, 0].float().mean(0)
    assert ((first - 0.25).abs() < 0.03).all()
    # Two of four digits hold one given digit in half of all independent orders.
    nested = (masked[:, 1] >= masked[:, 0]).all(1).float().mean()
    assert abs(nested - 0.5) < 0.03


@pytest.mark.parametrize("probability", [0.05, 0.5, 1.0])
def test_random_views_mask_each_digit_alike_and_never_nothing(
    probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mask as often as independent throws give it, an empty one refilled."""
    monkeypatch.setattr(amounts, "MASK_PROBABILITY", probability)
    masked = masked_digits(
        context(batch=20000), parameters(amount="chance", order="random", views=3)
    )
    assert masked.shape == (20000, 3, DIGITS)
    codes = (masked * 2 ** torch.arange(DIGITS)).sum(2).flatten().bincount(minlength=16)
    for mask in range(16):
        size = mask.bit_count()
        expected = probability**size * (1 - probability) ** (DIGITS - size)
        if size == 1:
            expected += (1 - probability) ** DIGITS / DIGITS
        if size == 0:
            expected = 0.0
        assert abs(float(codes[mask]) / 60000 - expected) < 0.01


def test_same_generator_state_same_masks() -> None:
    wanted = parameters(amount="curriculum", order="history")
    first = masked_digits(context(seed=7), wanted)
    second = masked_digits(context(seed=7), wanted)
    third = masked_digits(context(seed=8), wanted)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("digits", [1, 3, 16])
def test_any_amount_goes_with_any_order(amount: str, order: str, digits: int) -> None:
    wanted = parameters(amount=amount, order=order, views=min(3, digits))
    confidence = torch.rand(50, digits)
    given = context(fixed_probe(confidence), batch=50, digits=digits, progress=0.4)
    masked = masked_digits(given, wanted)
    assert masked.shape == (50, min(3, digits), digits)
    assert masked.any(2).all()
    if order == "confidence":
        # One order: of two views the smaller lies inside the larger.
        sizes = masked.sum(2).argsort(1)
        ordered = masked.gather(1, sizes[..., None].expand_as(masked))
        assert (ordered[:, 1:] >= ordered[:, :-1]).all()


def test_view_sizes_grow_to_all_digits() -> None:
    for digits, views in ((4, 4), (8, 4), (5, 2), (7, 3)):
        assert view_sizes(digits, views) == reference.view_sizes(digits, views)
    with pytest.raises(SidiffError, match="at most 4"):
        view_sizes(4, 5)


# Of L = 8 and gamma = 2, from the paper's equations, to three decimals.
TABLE = {
    # progress: mean number, chance of all eight
    0.0: (3.33, 0.028),
    0.1: (3.39, 0.033),
    0.25: (3.68, 0.056),
    0.5: (4.50, 0.125),
    0.75: (5.32, 0.194),
    0.9: (5.61, 0.217),
    1.0: (5.67, 0.222),
}


@pytest.mark.parametrize("progress", TABLE)
def test_the_curriculum_is_the_papers(progress: float) -> None:
    chances = curriculum_chances(progress, 8, gamma=2.0)
    mean, most = TABLE[progress]
    assert float(chances @ torch.arange(1.0, 9.0, dtype=torch.float64)) == (
        pytest.approx(mean, abs=0.005)
    )
    assert float(chances[7]) == pytest.approx(most, abs=0.0005)


@pytest.mark.parametrize("digits", [1, 4, 8])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("progress", [0.0, 0.13, 0.5, 0.99, 1.0])
def test_the_curriculum_follows_its_equations(
    digits: int, gamma: float, progress: float
) -> None:
    expected = reference.curriculum(progress, digits, gamma)
    chances = curriculum_chances(progress, digits, gamma)
    assert chances.tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("amount", ["curriculum", "uniform"])
@pytest.mark.parametrize(
    ("order", "eps"), [("history", 1.0), ("history", 0.1), ("random", 1.0)]
)
def test_every_mask_is_as_likely_as_enumeration_says(
    amount: str, order: str, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MDGR's masks and its ablation's, for one user many times over."""
    draws = 60_000
    target = torch.tensor([[1, 2, 3, 4]])
    # Digit by digit 3, 1, 0 and 2 of three items have the target's code; then two pads.
    items = [(1, 2, 0, 4), (1, 0, 0, 4), (1, 0, 0, 0), (0, 2, 3, 4), (1, 2, 3, 4)]
    given = context(
        batch=draws,
        progress=0.3,
        targets=target.expand(draws, -1),
        history=torch.tensor([items]).expand(draws, -1, -1),
        lengths=torch.full((draws,), 3),
    )
    assert (history_counts(given) == torch.tensor([3, 1, 0, 2])).all()
    monkeypatch.setattr(orders, "EPS", eps)
    wanted = parameters(amount=amount, order=order, views=1)
    force, numbers = [1.0] * 4, [0.25] * 4
    if order == "history":
        force = reference.history_weights((1, 2, 3, 4), items[:3], eps)
    if amount == "curriculum":
        numbers = reference.curriculum(0.3, 4, 2.0)
    masked = masked_digits(given, wanted)[:, 0]
    found = Counter((masked * 2 ** torch.arange(DIGITS)).sum(1).tolist())
    expected = reference.mask_chances(numbers, force)
    assert sum(expected.values()) == pytest.approx(1.0)
    for chosen, chance in expected.items():
        share = found[sum(2**digit for digit in chosen)] / draws
        # Five standard deviations.
        assert abs(share - chance) < 5 * math.sqrt(chance * (1 - chance) / draws)


def test_history_counts_are_those_of_a_plain_count() -> None:
    given = context(lengths=torch.arange(BATCH) % 6)
    weights = 1 / (history_counts(given) + 0.5)
    for user, length in enumerate(given.lengths.tolist()):
        items = given.history[user, :length].tolist()
        expected = reference.history_weights(given.targets[user].tolist(), items, 0.5)
        assert weights[user].tolist() == pytest.approx(expected)


@pytest.fixture
def network() -> tuple[Denoiser, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shape = dict(d_ff=24, decoder_layers=2, dropout=0.5)
    model = digit_network(DIGITS, 6, seed=1, **shape).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)
    history = torch.randint(6, (BATCH, 5, DIGITS))
    lengths = torch.randint(1, 6, (BATCH,))
    return model, history, lengths, torch.randint(6, (BATCH, DIGITS))


def test_probe_uses_no_dropout_keeps_no_graph_and_restores_training(network) -> None:
    model, history, lengths, targets = network
    memory = model.encode(history, lengths)
    probe = confidence_probe(model, memory, targets)
    masked = torch.ones(BATCH, DIGITS, dtype=torch.bool)
    first, second = probe(masked), probe(masked)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert model.training


def test_probe_reports_the_largest_probability(network) -> None:
    model, history, lengths, targets = network
    model.eval()
    memory = model.encode(history, lengths)
    masked = torch.rand(BATCH, DIGITS) < 0.6
    p = model.logits(targets[:, None], masked[:, None], memory)[:, 0].softmax(-1)
    actual = confidence_probe(model, memory, targets)(masked)
    torch.testing.assert_close(actual.exp(), p.amax(-1))


def test_raw_probe_is_the_network_with_identity_key_and_value_projections(
    network,
) -> None:
    model, history, lengths, targets = network
    model.eval()
    memory = model.encode(history, lengths)
    masked = torch.ones(BATCH, DIGITS, dtype=torch.bool)
    raw = confidence_probe(model, model.unprojected(memory), targets)(masked)
    projected = confidence_probe(model, memory, targets)(masked)
    identity = torch.eye(16).repeat(2, 1)
    for layer in model.decoder:
        layer.cross_attention.key_value.weight.data.copy_(identity)
    memory = model.encode(history, lengths)
    expected = confidence_probe(model, memory, targets)(masked)
    torch.testing.assert_close(raw, expected)
    assert not torch.allclose(raw, projected)
