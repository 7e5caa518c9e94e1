"""Noising strategies against loops that follow the papers' wording."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.diffusion.noising import (
    NoisingContext,
    confidence_probe,
    hidden_digits,
    view_sizes,
)
from sidiff.errors import SidiffError
from sidiff.parameters import NoisingParameters

BATCH, DIGITS = 200, 4


def parameters(**changes: object) -> NoisingParameters:
    base = dict(
        strategy="ocn",
        views=DIGITS,
        select="least",
        refresh=False,
        confidence="max_probability",
        probe_kv="projected",
        hide_probability=0.5,
    )
    return NoisingParameters.model_validate(base | changes)


def context(probe: object = None, seed: int = 0, batch: int = BATCH) -> NoisingContext:
    return NoisingContext(
        batch, DIGITS, probe, torch.Generator().manual_seed(seed), torch.device("cpu")
    )


def fixed_probe(confidence: Tensor):
    return lambda hidden: confidence


@pytest.mark.parametrize("select", ["least", "most"])
def test_ocn_hides_the_first_digits_of_the_models_own_order(select: str) -> None:
    confidence = torch.rand(BATCH, DIGITS, generator=torch.Generator().manual_seed(5))
    hidden = hidden_digits(context(fixed_probe(confidence)), parameters(select=select))
    assert hidden.shape == (BATCH, DIGITS, DIGITS)
    for row, view in zip(confidence.tolist(), hidden, strict=True):
        order = sorted(range(DIGITS), key=row.__getitem__, reverse=select == "most")
        for size in range(1, DIGITS + 1):
            expected = {order[i] for i in range(size)}
            assert set(view[size - 1].nonzero().flatten().tolist()) == expected


def test_ocn_breaks_ties_by_digit() -> None:
    hidden = hidden_digits(
        context(fixed_probe(torch.ones(BATCH, DIGITS))), parameters()
    )
    expected = torch.ones(DIGITS, DIGITS, dtype=torch.bool).tril()
    assert (hidden == expected).all()


def test_refresh_asks_with_the_digits_revealed_so_far() -> None:
    """Confidence depends on the mask: the order must follow a literal simulation."""
    generator = torch.Generator().manual_seed(2)
    answers = torch.rand(2**DIGITS, BATCH, DIGITS, generator=generator)

    def probe(hidden: Tensor) -> Tensor:
        code = (hidden * 2 ** torch.arange(DIGITS)).sum(1)
        return answers[code, torch.arange(BATCH)]

    views = hidden_digits(context(probe), parameters(refresh=True))
    for user in range(BATCH):
        hidden = set(range(DIGITS))
        for size in range(DIGITS, 0, -1):
            actual = set(views[user, size - 1].nonzero().flatten().tolist())
            assert actual == hidden
            score = answers[sum(2**d for d in hidden), user]
            hidden.remove(max(hidden, key=lambda d: float(score[d])))


def test_coherent_views_are_nested_along_uniformly_random_orders() -> None:
    hidden = hidden_digits(context(batch=6000), parameters(strategy="coherent"))
    assert (hidden.sum(2) == torch.arange(1, DIGITS + 1)).all()
    assert (hidden[:, 1:] >= hidden[:, :-1]).all()
    first = hidden[:, 0].float().mean(0)
    assert ((first - 0.25).abs() < 0.03).all()


@pytest.mark.parametrize("probability", [0.05, 0.5, 1.0])
def test_random_views_hide_each_digit_alike_and_never_nothing(
    probability: float,
) -> None:
    hidden = hidden_digits(
        context(batch=6000),
        parameters(strategy="random", views=3, hide_probability=probability),
    )
    assert hidden.shape == (6000, 3, DIGITS)
    assert hidden.any(2).all()
    nothing = (1 - probability) ** DIGITS
    expected = probability + nothing / DIGITS
    assert ((hidden.float().mean((0, 1)) - expected).abs() < 0.02).all()


def test_same_generator_state_same_masks() -> None:
    first = hidden_digits(context(seed=7), parameters(strategy="random"))
    second = hidden_digits(context(seed=7), parameters(strategy="random"))
    third = hidden_digits(context(seed=8), parameters(strategy="random"))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_view_sizes_grow_to_all_digits() -> None:
    assert view_sizes(4, 4) == [1, 2, 3, 4]
    assert view_sizes(8, 4) == [2, 4, 6, 8]
    assert view_sizes(5, 2) == [3, 5]
    with pytest.raises(SidiffError, match="at most 4"):
        view_sizes(4, 5)


@pytest.fixture
def network() -> tuple[Denoiser, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    config = DenoiserConfig(DIGITS, 6, 10, 16, 2, 24, 1, 2, 0.5, "sink")
    model = Denoiser(config).initialize(torch.Generator().manual_seed(1)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)
    history = torch.randint(6, (BATCH, 5, DIGITS))
    lengths = torch.randint(1, 6, (BATCH,))
    return model, history, lengths, torch.randint(6, (BATCH, DIGITS))


def test_probe_uses_no_dropout_keeps_no_graph_and_restores_training(network) -> None:
    model, history, lengths, targets = network
    memory = model.encode(history, lengths)
    probe = confidence_probe(model, memory, targets, parameters())
    hidden = torch.ones(BATCH, DIGITS, dtype=torch.bool)
    first, second = probe(hidden), probe(hidden)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert model.training


@pytest.mark.parametrize("confidence", ["max_probability", "negative_entropy"])
def test_probe_reports_the_named_confidence(network, confidence: str) -> None:
    model, history, lengths, targets = network
    model.eval()
    memory = model.encode(history, lengths)
    hidden = torch.rand(BATCH, DIGITS) < 0.6
    probe = confidence_probe(model, memory, targets, parameters(confidence=confidence))
    p = model.logits(targets[:, None], hidden[:, None], memory)[:, 0].softmax(-1)
    expected = p.amax(-1) if confidence == "max_probability" else (p * p.log()).sum(-1)
    actual = probe(hidden)
    if confidence == "max_probability":
        actual = actual.exp()  # any increasing function ranks the same
    torch.testing.assert_close(actual, expected)


def test_raw_probe_is_the_network_with_identity_key_and_value_projections(
    network,
) -> None:
    model, history, lengths, targets = network
    model.eval()
    memory = model.encode(history, lengths)
    hidden = torch.ones(BATCH, DIGITS, dtype=torch.bool)
    raw = confidence_probe(model, memory, targets, parameters(probe_kv="raw"))(hidden)
    projected = confidence_probe(model, memory, targets, parameters())(hidden)
    identity = torch.eye(16).repeat(2, 1)
    for layer in model.decoder:
        layer.cross_attention.key_value.weight.data.copy_(identity)
    memory = model.encode(history, lengths)
    expected = confidence_probe(model, memory, targets, parameters())(hidden)
    torch.testing.assert_close(raw, expected)
    assert not torch.allclose(raw, projected)
