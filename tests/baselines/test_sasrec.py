"""SASRec: what it may see, what it trains on, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sidiff.baselines import sasrec as s
from sidiff.baselines.method import TrainingInputs
from sidiff.baselines.settings import SasRecSettings
from sidiff.diffusion.histories import HistoryBatch
from sidiff.errors import SidiffError
from sidiff.reviews.sequences import (
    Sequences,
    evaluation_samples,
    sequence_rows,
)
from sidiff.training.trainer import SCORE
from sidiff.training.workers import ALONE

from ..settings import model as model_of
from .conftest import sequences_of

CPU = torch.device("cpu")


def settings(**changes: object) -> SasRecSettings:
    base = dict(
        d_model=32,
        heads=2,
        d_ff=32,
        layers=1,
        dropout=0.1,
        optimizer=dict(
            learning_rate=0.01,
            weight_decay=0.0,
            warmup_steps=5,
            max_gradient_norm=5.0,
        ),
        stopping=dict(first_epoch=1, every_epochs=1, patience=20),
        batch_size=32,
        users_per_pass=16,
        epochs=2,
    )
    return SasRecSettings.model_validate(base | changes)


def training_inputs(shop: Sequences) -> TrainingInputs:
    """Of SASRec, which reads no SIDs and none of the denoiser's settings."""
    baselines = model_of("baselines", {"users_per_batch": 64, "device": "cpu"})
    return TrainingInputs(shop, np.empty((0, 3)), None, baselines, None, 10, [1])


def build(items: int = 20, scale: float = 10.0) -> s.SasRec:
    config = s.SasRecConfig(
        items=items, max_history=8, d_model=16, heads=2, d_ff=24, layers=2, dropout=0.0
    )
    model = s.SasRec(config).initialize(torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        model.gate.fill_(1.5)
    return model


def scores(model: s.SasRec, history: torch.Tensor, lengths: torch.Tensor):
    """Logits of all items."""
    batch = HistoryBatch(history[..., None], lengths, history)
    return model.logits(batch)(torch.arange(len(model.items))).detach()


def task(model: s.SasRec, shop, per_batch: int = 7) -> s.SasRecTask:
    validation = evaluation_samples(shop, "validation", model.config.max_history)
    return s.SasRecTask("SASRec", model, shop, validation, per_batch, CPU)


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
        wanted = model.items @ states[user, length - 1]
        wanted[history[user, :length].unique()] += 1.5
        torch.testing.assert_close(
            scores(model, history, lengths)[user], wanted, rtol=1e-4, atol=1e-5
        )


def test_targets_are_every_training_position_and_no_other(noise) -> None:
    """The held-out items must not matter; every training item after the first must.

    What a user had before a position is gated; gradients are those of autograd.
    """
    model = build()
    samples = sequence_rows(noise, 8)
    loss, weight = task(model, noise).loss(torch.from_numpy(samples), 0.0)
    total, positions = torch.zeros(()), 0
    for user, start, end in samples.tolist():
        items = torch.from_numpy(noise.items[noise.offsets[user] :]).long()
        part = items[start : end + 1]
        assert end == noise.lengths[user] - 3
        states = model(part[None, :-1], torch.tensor([len(part) - 1]))[0]
        had = torch.zeros(len(states), len(model.items))
        for place in range(len(states)):
            had[place, part[: place + 1]] = 1.0
        logits = states @ model.items.T + model.gate * had
        total = total + F.cross_entropy(logits, part[1:], reduction="sum")
        positions += len(part) - 1
    assert int(weight) == positions
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=0.0)
    weights = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(weights.values()))
    wanted = torch.autograd.grad(total, list(weights.values()))
    for name, one, other in zip(weights, found, wanted, strict=True):
        scale = float(other.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * scale)


def test_it_learns_the_next_item_and_keeps_the_best_epoch(ring) -> None:
    model, trained = s.fit_sasrec(training_inputs(ring), settings(epochs=15), 1)
    assert trained.score > 0.9
    again = task(model, ring, 17).validate(ALONE)
    assert again[SCORE] == pytest.approx(trained.score)


def test_the_same_seed_gives_the_same_weights(ring) -> None:
    first, second, other = (
        s.fit_sasrec(training_inputs(ring), settings(epochs=1), seed)[1].weights
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
        s.fit_sasrec(training_inputs(shop), settings(), 1)


def test_validation_ndcg_is_the_plain_mean(noise) -> None:
    model = build()
    samples = evaluation_samples(noise, "validation", 8)
    gains = []
    for user, start, end in samples.tolist():
        items = torch.from_numpy(noise.items[noise.offsets[user] :]).long()
        logits = scores(model, items[None, start:end], torch.tensor([end - start]))[0]
        rank = int((logits > logits[items[end]]).sum())
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    got = task(model, noise).validate(ALONE)[SCORE]
    assert got == pytest.approx(np.mean(gains))
