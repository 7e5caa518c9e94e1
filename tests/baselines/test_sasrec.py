"""SASRec: the loss, what it may see, what it trains on, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sidiff.baselines import sasrec as s
from sidiff.diffusion.histories import HistoryBatch
from sidiff.errors import SidiffError
from sidiff.parameters import SasRecSettings
from sidiff.training.trainer import SCORE
from sidiff.training.workers import ALONE

from .conftest import sequences_of

CPU = torch.device("cpu")


def settings(**changes: object) -> SasRecSettings:
    base = dict(
        width=32,
        heads=2,
        inner=32,
        layers=1,
        dropout=0.1,
        label_smoothing=0.0,
        optimizer=dict(
            learning_rate=0.01,
            weight_decay=0.0,
            warmup_steps=5,
            schedule="cosine",
            max_gradient_norm=5.0,
        ),
        stopping=dict(first_epoch=1, every_epochs=1, patience=20),
        batch_size=32,
        users_per_pass=16,
        epochs=2,
    )
    return SasRecSettings.model_validate(base | changes)


def build(items: int = 20, scale: float = 10.0) -> s.SasRec:
    config = s.SasRecConfig(items, 8, 16, 2, 24, 2, 0.0)
    model = s.SasRec(config).initialize(torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def scores(model: s.SasRec, history: torch.Tensor, lengths: torch.Tensor):
    """Logits of all items."""
    batch = HistoryBatch(history[..., None], lengths, history, history)
    return model.logits(batch)(torch.arange(len(model.items))).detach()


def task(model: s.SasRec, shop, per_batch: int = 7) -> s.SasRecTask:
    validation = s.evaluation_samples(shop, "validation", model.config.max_history)
    return s.SasRecTask("SASRec", model, shop, 0.0, validation, per_batch, CPU)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [1, 300, 2**22])
@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_loss_and_gradients_are_those_of_torch(
    monkeypatch, smoothing, at_once, spread
) -> None:
    monkeypatch.setattr(s, "LOGITS_AT_ONCE", at_once)
    torch.manual_seed(0)
    states = (spread * torch.randn(23, 8)).requires_grad_()
    table = torch.randn(50, 8, requires_grad=True)
    targets = torch.randint(50, (23,))
    wanted = F.cross_entropy(
        states @ table.T, targets, reduction="sum", label_smoothing=smoothing
    )
    got = s.full_softmax_loss(states, table, targets, smoothing)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-4)
    for one, other in zip(
        torch.autograd.grad(3.0 * got, [states, table]),
        torch.autograd.grad(3.0 * wanted, [states, table]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * spread)


def test_no_state_sees_later_items_or_pads() -> None:
    model = build()
    history = torch.randint(20, (3, 6))
    lengths = torch.tensor([6, 6, 6])
    before = model(history, lengths)
    changed = history.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 20
    after = model(changed, lengths)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax() > 1e-3
    alone = model(history[:1, :3], torch.tensor([3]))
    padded = model(history[:1], torch.tensor([3]))
    torch.testing.assert_close(alone, padded[:, :3], rtol=1e-4, atol=1e-5)


def test_scores_are_products_with_the_last_state() -> None:
    model = build()
    history, lengths = torch.randint(20, (4, 6)), torch.tensor([1, 6, 3, 2])
    states = model(history, lengths)
    for user, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            scores(model, history, lengths)[user],
            model.items @ states[user, length - 1],
            rtol=1e-4,
            atol=1e-5,
        )


def test_targets_are_every_training_position_and_no_other(noise) -> None:
    """The held-out items must not matter; every training item after the first must."""
    model = build()
    samples = s.sasrec_samples(noise, 8)
    loss, weight = task(model, noise).loss(torch.from_numpy(samples), 0.0)
    total, positions = 0.0, 0
    for user, start, end in samples.tolist():
        items = torch.from_numpy(noise.items[noise.offsets[user] :]).long()
        part = items[start : end + 1]
        assert end == noise.lengths[user] - 3
        states = model(part[None, :-1], torch.tensor([len(part) - 1]))[0]
        logits = states @ model.items.T
        total += float(F.cross_entropy(logits, part[1:], reduction="sum").detach())
        positions += len(part) - 1
    assert float(loss.detach()) == pytest.approx(total, rel=1e-4)
    assert int(weight) == positions


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 7))
def test_every_training_item_after_the_first_is_a_target_once(
    lengths: list[int], longest: int
) -> None:
    shop = sequences_of([list(range(length)) for length in lengths], 30)
    targets = []
    for user, start, end in s.sasrec_samples(shop, longest).tolist():
        assert 1 <= end - start <= longest
        targets += [(user, place) for place in range(start + 1, end + 1)]
    assert sorted(targets) == [
        (user, place)
        for user, length in enumerate(lengths)
        for place in range(1, length - 2)
    ]


def test_the_newest_row_of_a_long_user_is_full() -> None:
    shop = sequences_of([list(range(14)), [0, 1, 2]], 14)
    assert s.sasrec_samples(shop, 4).tolist() == [[0, 7, 11], [0, 3, 7], [0, 0, 3]]


def test_it_learns_the_next_item_and_keeps_the_best_epoch(ring) -> None:
    model, trained = s.fit_sasrec(ring, settings(epochs=15), 10, 64, 1, CPU)
    assert trained.score > 0.9
    again = task(model, ring, 17).validate(ALONE)
    assert again[SCORE] == pytest.approx(trained.score)


def test_the_same_seed_gives_the_same_weights(ring) -> None:
    first, second, other = (
        s.fit_sasrec(ring, settings(epochs=1), 10, 64, seed, CPU)[1].weights
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["items"], other["items"])


def test_saved_and_rebuilt_is_the_same_function() -> None:
    model = build()
    again = s.SasRec.from_saved(
        model.state_dict(), model.saved_config() | {"seeds": []}
    )
    history, lengths = torch.randint(20, (2, 4)), torch.tensor([4, 2])
    assert torch.equal(scores(model, history, lengths), scores(again, history, lengths))
    with pytest.raises(SidiffError, match="do not fit"):
        s.SasRec.from_saved(model.state_dict(), model.saved_config() | {"items": 3})


def test_nobody_long_enough_is_one_clear_error() -> None:
    shop = sequences_of([[0, 1, 2], [1, 2, 0]], 3)
    with pytest.raises(SidiffError, match="SASRec"):
        s.fit_sasrec(shop, settings(), 4, 8, 1, CPU)


def test_validation_ndcg_is_the_plain_mean(noise) -> None:
    model = build()
    samples = s.evaluation_samples(noise, "validation", 8)
    gains = []
    for user, start, end in samples.tolist():
        items = torch.from_numpy(noise.items[noise.offsets[user] :]).long()
        logits = scores(model, items[None, start:end], torch.tensor([end - start]))[0]
        rank = int((logits > logits[items[end]]).sum())
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    got = task(model, noise).validate(ALONE)[SCORE]
    assert got == pytest.approx(np.mean(gains))
