"""Noising strategies against loops that follow the papers' wording."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import pytest
import torch
from torch import Tensor

from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.diffusion.noising import AMOUNTS, ORDERS, NoisingContext, masked_digits
from sidiff.diffusion.noising.amounts import digit_cap, view_sizes
from sidiff.diffusion.noising.orders import history_support, rarity
from sidiff.diffusion.noising.probe import confidence_probe
from sidiff.errors import SidiffError
from sidiff.parameters import NoisingParameters
from tests.settings import settings

BATCH, DIGITS, CODES = 200, 4, 6


def parameters(**changes: object) -> NoisingParameters:
    """DiffGRM's noising unless changed; dotted groups are dictionaries."""
    base = settings("training")["noising"] | {"views": DIGITS, "probe_kv": "projected"}
    for name, value in changes.items():
        base[name] = base[name] | value if isinstance(value, dict) else value
    return NoisingParameters.model_validate(base)


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
        "rarity": torch.rand(digits, CODES, generator=data),
    } | tensors
    return NoisingContext(
        **given,
        progress=progress,
        probe=probe,
        generator=torch.Generator().manual_seed(seed),
    )


def fixed_probe(confidence: Tensor):
    return lambda masked: confidence


@pytest.mark.parametrize("select", ["least", "most"])
def test_ocn_masks_the_first_digits_of_the_models_own_order(select: str) -> None:
    confidence = torch.rand(BATCH, DIGITS, generator=torch.Generator().manual_seed(5))
    masked = masked_digits(context(fixed_probe(confidence)), parameters(select=select))
    assert masked.shape == (BATCH, DIGITS, DIGITS)
    for row, view in zip(confidence.tolist(), masked, strict=True):
        order = sorted(range(DIGITS), key=row.__getitem__, reverse=select == "most")
        for size in range(1, DIGITS + 1):
            expected = {order[i] for i in range(size)}
            assert set(view[size - 1].nonzero().flatten().tolist()) == expected


def test_ocn_breaks_ties_by_digit() -> None:
    masked = masked_digits(
        context(fixed_probe(torch.ones(BATCH, DIGITS))), parameters()
    )
    expected = torch.ones(DIGITS, DIGITS, dtype=torch.bool).tril()
    assert (masked == expected).all()


def test_refresh_asks_with_the_digits_revealed_so_far() -> None:
    """Confidence depends on the mask: the order must follow a literal simulation."""
    generator = torch.Generator().manual_seed(2)
    answers = torch.rand(2**DIGITS, BATCH, DIGITS, generator=generator)

    def probe(masked: Tensor) -> Tensor:
        code = (masked * 2 ** torch.arange(DIGITS)).sum(1)
        return answers[code, torch.arange(BATCH)]

    views = masked_digits(context(probe), parameters(refresh=True))
    for user in range(BATCH):
        masked = set(range(DIGITS))
        for size in range(DIGITS, 0, -1):
            actual = set(views[user, size - 1].nonzero().flatten().tolist())
            assert actual == masked
            score = answers[sum(2**d for d in masked), user]
            masked.remove(max(masked, key=lambda d: float(score[d])))


def test_coherent_views_are_nested_along_uniformly_random_orders() -> None:
    masked = masked_digits(context(batch=6000), parameters(order="random"))
    assert (masked.sum(2) == torch.arange(1, DIGITS + 1)).all()
    assert (masked[:, 1:] >= masked[:, :-1]).all()
    first = masked[:, 0].float().mean(0)
    assert ((first - 0.25).abs() < 0.03).all()


def test_views_that_draw_their_own_orders_are_not_nested() -> None:
    masked = masked_digits(
        context(batch=6000), parameters(order="random", coherent=False)
    )
    assert (masked.sum(2) == torch.arange(1, DIGITS + 1)).all()
    # Two of four digits hold one given digit in half of all independent orders.
    nested = (masked[:, 1] >= masked[:, 0]).all(1).float().mean()
    assert abs(nested - 0.5) < 0.03


@pytest.mark.parametrize("probability", [0.05, 0.5, 1.0])
def test_random_views_mask_each_digit_alike_and_never_nothing(
    probability: float,
) -> None:
    """Every mask as often as independent throws give it, an empty one refilled."""
    masked = masked_digits(
        context(batch=20000),
        parameters(
            amount="chance",
            order="random",
            coherent=False,
            views=3,
            mask_probability=probability,
        ),
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
    wanted = parameters(amount="curriculum", order="history", coherent=False)
    first = masked_digits(context(seed=7), wanted)
    second = masked_digits(context(seed=7), wanted)
    third = masked_digits(context(seed=8), wanted)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("coherent", [True, False])
@pytest.mark.parametrize("digits", [1, 3, 16])
def test_any_amount_goes_with_any_order(
    amount: str, order: str, coherent: bool, digits: int
) -> None:
    wanted = parameters(
        amount=amount, order=order, coherent=coherent, views=min(3, digits)
    )
    confidence = torch.rand(50, digits)
    given = context(fixed_probe(confidence), batch=50, digits=digits, progress=0.4)
    masked = masked_digits(given, wanted)
    assert masked.shape == (50, min(3, digits), digits)
    assert masked.any(2).all()
    if coherent or order == "confidence":
        # One order: of two views the smaller lies inside the larger.
        sizes = masked.sum(2).argsort(1)
        ordered = masked.gather(1, sizes[..., None].expand_as(masked))
        assert (ordered[:, 1:] >= ordered[:, :-1]).all()


def test_view_sizes_grow_to_all_digits() -> None:
    assert view_sizes(4, 4) == [1, 2, 3, 4]
    assert view_sizes(8, 4) == [2, 4, 6, 8]
    assert view_sizes(5, 2) == [3, 5]
    with pytest.raises(SidiffError, match="at most 4"):
        view_sizes(4, 5)


SHAPES = {
    "linear": lambda x: x,
    "cosine": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "sqrt": lambda x: x**0.5,
    "constant": lambda x: 1,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("digits", [1, 4, 8, 32])
def test_the_cap_follows_the_named_curve_to_all_digits(shape: str, digits: int) -> None:
    settings_ = parameters(curriculum={"shape": shape, "saturation": 0.5}).curriculum
    caps = [digit_cap(step / 100, digits, settings_) for step in range(101)]
    assert caps == sorted(caps)
    assert set(caps[50:]) == {digits}
    for step in range(50):
        exact = digits * SHAPES[shape](step / 50)
        assert caps[step] == max(1, math.ceil(exact - 1e-9))
    if shape != "constant":
        assert caps[0] == 1


@pytest.mark.parametrize(
    ("progress", "reverse", "expected"),
    [
        (0.0, False, {1}),
        (0.25, False, {1, 2, 3, 4}),
        (0.5, False, set(range(1, 9))),
        (0.0, True, {8}),
        (0.25, True, {5, 6, 7, 8}),
        (1.0, True, set(range(1, 9))),
    ],
)
def test_the_curriculum_draws_evenly_up_to_its_cap(
    progress: float, reverse: bool, expected: set[int]
) -> None:
    wanted = parameters(
        amount="curriculum",
        order="random",
        coherent=False,
        curriculum={"reversed": reverse},
    )
    given = context(batch=5000, digits=8, progress=progress)
    sizes = masked_digits(given, wanted).sum(2).flatten()
    counts = Counter(sizes.tolist())
    assert set(counts) == expected
    assert all(
        abs(count / len(sizes) - 1 / len(expected)) < 0.02 for count in counts.values()
    )


def test_history_support_is_the_recency_weighted_share_of_equal_codes() -> None:
    given = context()
    actual = history_support(given, recency=2.0)
    for user in range(BATCH):
        length = int(given.lengths[user])
        weights = [math.exp(-(length - 1 - t) / 2.0) for t in range(length)]
        for digit in range(DIGITS):
            same = sum(
                weight
                for t, weight in enumerate(weights)
                if given.history[user, t, digit] == given.targets[user, digit]
            )
            assert float(actual[user, digit]) == pytest.approx(
                same / sum(weights), abs=1e-6
            )


def test_a_user_without_history_has_no_support() -> None:
    given = context(batch=3, lengths=torch.tensor([0, 0, 1]))
    assert (history_support(given, recency=1.0)[:2] == 0).all()


@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize("statistic", ["support", "rarity"])
def test_the_history_draws_orders_with_the_stated_chances(
    sign: int, statistic: str
) -> None:
    """Against the exact chance of every order, drawn without replacement."""
    # One user, many times over: the last item shares one digit, an earlier another.
    targets = torch.tensor([[1, 2, 3]]).expand(30000, -1)
    history = torch.tensor([[[1, 0, 0], [0, 2, 0]]]).expand(30000, -1, -1)
    rare = torch.zeros(3, CODES)
    rare[0, 1], rare[1, 2], rare[2, 3] = 0.2, 0.5, 0.9
    given = context(
        batch=30000,
        digits=3,
        targets=targets,
        history=history,
        lengths=torch.full((30000,), 2),
        rarity=rare,
    )
    wanted = parameters(
        order="history",
        views=3,
        history={"sign": sign, "statistic": statistic, "temperature": 0.4},
    )
    if statistic == "support":
        near, far = 1.0, math.exp(-1 / wanted.history.recency)
        surprise = [1 - far / (near + far), 1 - near / (near + far), 1.0]
    else:
        surprise = [0.2, 0.5, 0.9]
    force = [math.exp(sign * value / 0.4) for value in surprise]
    # Nested views of sizes 1, 2, 3: the number of views that mask a digit ranks it.
    masked = masked_digits(given, wanted)
    order = masked.sum(1).argsort(1, descending=True)
    counts = Counter(map(tuple, order.tolist()))
    for chosen in permutations(range(3)):
        chance, left = 1.0, sum(force)
        for digit in chosen:
            chance *= force[digit] / left
            left -= force[digit]
        assert abs(counts[chosen] / 30000 - chance) < 0.01


def test_rarity_is_the_scaled_inverse_document_frequency() -> None:
    codes = torch.tensor([[0, 1], [0, 2], [1, 2]])
    result = rarity(codes, torch.tensor([90, 9, 1]), 4)
    assert result[0, 0] == pytest.approx(math.log(100 / 99) / math.log(100))
    assert result[0, 1] == pytest.approx(1.0)  # one interaction of a hundred
    assert result[1, 2] == pytest.approx(0.5)  # ten
    assert result[1, 3] == pytest.approx(1.0)  # never seen


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
    masked = torch.ones(BATCH, DIGITS, dtype=torch.bool)
    first, second = probe(masked), probe(masked)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert model.training


@pytest.mark.parametrize("confidence", ["max_probability", "negative_entropy"])
def test_probe_reports_the_named_confidence(network, confidence: str) -> None:
    model, history, lengths, targets = network
    model.eval()
    memory = model.encode(history, lengths)
    masked = torch.rand(BATCH, DIGITS) < 0.6
    probe = confidence_probe(model, memory, targets, parameters(confidence=confidence))
    p = model.logits(targets[:, None], masked[:, None], memory)[:, 0].softmax(-1)
    expected = p.amax(-1) if confidence == "max_probability" else (p * p.log()).sum(-1)
    actual = probe(masked)
    if confidence == "max_probability":
        actual = actual.exp()  # any increasing function ranks the same
    torch.testing.assert_close(actual, expected)


def test_raw_probe_is_the_network_with_identity_key_and_value_projections(
    network,
) -> None:
    model, history, lengths, targets = network
    model.eval()
    memory = model.encode(history, lengths)
    masked = torch.ones(BATCH, DIGITS, dtype=torch.bool)
    raw = confidence_probe(model, memory, targets, parameters(probe_kv="raw"))(masked)
    projected = confidence_probe(model, memory, targets, parameters())(masked)
    identity = torch.eye(16).repeat(2, 1)
    for layer in model.decoder:
        layer.cross_attention.key_value.weight.data.copy_(identity)
    memory = model.encode(history, lengths)
    expected = confidence_probe(model, memory, targets, parameters())(masked)
    torch.testing.assert_close(raw, expected)
    assert not torch.allclose(raw, projected)
