"""The training loop: exact steps, repeatable runs, and a network that learns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from sidiff.diffusion.denoiser import Denoiser
from sidiff.errors import SidiffError
from sidiff.parameters import TrainingParameters
from sidiff.reviews.sequences import Sequences, training_samples
from sidiff.sids.table import SidTable
from sidiff.training import trainer as trainer_module
from sidiff.training.loop import DenoiserTask, Fitted, budget_of, fit
from sidiff.training.trainer import Trainer, by_length
from tests.settings import training

ITEMS, MAX_HISTORY = 24, 10


def parameters(**changes: object) -> TrainingParameters:
    small = {
        "network.width": 32,
        "network.heads": 2,
        "network.inner": 48,
        "network.encoder_layers": 1,
        "network.decoder_layers": 1,
        "network.item_identity": False,
        "noising.views": 3,
        "auxiliary.item_weight": 0.0,
        "label_smoothing": 0.05,
        "optimizer.learning_rate": 0.01,
        "optimizer.warmup_steps": 5,
        "validation.first_epoch": 2,
        "validation.every_epochs": 2,
        "validation.patience": 20,
        "validation.level": "item",
        "validation.max_users": 0,
        "validation.users_per_batch": 16,
        "validation.method": "cpd",
        "validation.decoding.beam": 8,
        "batch_size": 64,
        "samples_per_pass": 32,
        "epochs": 2,
        "seed": 1,
        "device": "cpu",
        "threads": 1,
    }
    return training(small | changes)


@pytest.fixture(scope="module")
def shop() -> tuple[Sequences, np.ndarray, SidTable]:
    """Users who walk round a ring of items: the next item follows from the last."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 14, 150)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = rng.integers(0, ITEMS, 150)
    items = np.concatenate(
        [(s + np.arange(n)) % ITEMS for s, n in zip(starts, lengths, strict=True)]
    )
    sequences = Sequences(
        items=items.astype(np.int32),
        offsets=offsets,
        user_ids=pl.Series([f"u{i:03}" for i in range(150)]),
        item_ids=pl.Series([f"i{i:02}" for i in range(ITEMS)]),
    )
    codes = np.stack(
        [np.arange(ITEMS) // 6, np.arange(ITEMS) % 6, rng.integers(0, 6, ITEMS)]
    )
    table = SidTable(codes.T.astype(np.uint16), sequences.item_ids, 6)
    return sequences, training_samples(sequences, "prefix", 2, MAX_HISTORY), table


def run(shop: tuple, p: TrainingParameters) -> tuple[Fitted, list]:
    sequences, samples, table = shop
    calls: list = []
    fitted = fit(
        sequences, samples, table, p, MAX_HISTORY, lambda *call: calls.append(call)
    )
    return fitted, calls


def test_it_learns_the_next_item(shop) -> None:
    fitted, _ = run(shop, parameters(epochs=60, seed=2))
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.9
    assert fitted.history["train/loss"][-1] < fitted.history["train/loss"][0]


def test_bfloat16_trains_alike(shop) -> None:
    exact, _ = run(shop, parameters(epochs=4))
    lowered = parameters(epochs=4, precision="bfloat16")
    fitted, _ = run(shop, lowered)
    again, _ = run(shop, lowered)
    losses = exact.history["train/loss"].to_list()
    assert losses[-1] < losses[0] - 0.1
    assert fitted.history["train/loss"].to_list() == pytest.approx(losses, rel=0.02)
    assert fitted.history.equals(again.history)
    assert not torch.equal(fitted.weights["codes"], exact.weights["codes"])
    assert fitted.weights["codes"].dtype == torch.float32


def test_the_same_seed_gives_the_same_weights(shop) -> None:
    first, _ = run(shop, parameters())
    second, _ = run(shop, parameters())
    other, _ = run(shop, parameters(seed=2))
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name]), name
    assert not torch.equal(first.weights["codes"], other.weights["codes"])


@pytest.mark.parametrize("reduction", ["per_view", "pooled", "sum"])
def test_passes_of_any_size_make_the_same_step(shop, reduction) -> None:
    """Cutting a batch into passes changes the rounding of its gradient only."""
    sequences, samples, table = shop
    gradients = []
    for size in (64, 7):
        whole = {
            "network.dropout": 0.0,
            "network.item_identity": True,
            "network.identity_dropout": 0.0,
            "auxiliary.item_weight": 0.5,
            "samples_per_pass": size,
            "loss_reduction": reduction,
        }
        p = parameters(**whole)
        task = DenoiserTask(sequences, samples, table, p, MAX_HISTORY, None)
        trainer = Trainer(task, samples, budget_of(p))
        task.model.train()
        seen: list[torch.Tensor] = []
        trainer.optimizer.step = lambda task=task, seen=seen: seen.extend(
            weight.grad.clone() for weight in task.denoiser.parameters()
        )
        trainer.step(trainer.samples[:64], 0.0)
        gradients.append(seen)
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_the_best_validated_epoch_is_kept(shop) -> None:
    fitted, calls = run(shop, parameters(epochs=4))
    scored = {e: f["validation/score"] for e, f in calls if "validation/score" in f}
    assert set(scored) == {2, 4}
    best = max(scored, key=scored.get)
    assert fitted.config["best_epoch"] == best
    assert fitted.config["best_score"] == scored[best]
    assert fitted.history["epoch"].to_list() == [1, 2, 3, 4]
    Denoiser.from_saved(fitted.weights, fitted.config)


def test_the_speed_is_that_of_all_samples(shop, monkeypatch) -> None:
    """Also where no progress bar is shown, which then counts nothing."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(trainer_module.time, "perf_counter", lambda: float(next(clock)))
    _, calls = run(shop, parameters())
    speeds = [figures["train/samples_per_second"] for _, figures in calls]
    assert speeds == [len(shop[1]) / 2.0] * 2


def test_selection_score_weighs_ndcg_and_recall(shop) -> None:
    _, calls = run(shop, parameters())
    figures = calls[-1][1]
    assert figures["validation/score"] == pytest.approx(
        0.8 * figures["validation/item/ndcg_at_10"]
        + 0.2 * figures["validation/item/recall_at_10"]
    )


def test_training_stops_when_validation_no_longer_improves(shop) -> None:
    still = {
        "validation.first_epoch": 1,
        "validation.every_epochs": 1,
        "validation.patience": 2,
        "optimizer.learning_rate": 1e-12,
    }
    fitted, _ = run(shop, parameters(epochs=9, **still))
    assert fitted.config["epochs_run"] < 9


def test_a_training_that_diverges_says_so(shop, monkeypatch) -> None:
    # No legal rate upsets so small a network.
    monkeypatch.setattr(trainer_module, "learning_rate", lambda *_: 1e30)
    with pytest.raises(SidiffError, match=r"diverged: in epoch 1 .* lower training\."):
        run(shop, parameters())


def test_no_samples_is_one_clear_error(shop) -> None:
    sequences, samples, table = shop
    with pytest.raises(SidiffError, match="min_history"):
        fit(sequences, samples[:0], table, parameters(), MAX_HISTORY, lambda *_: None)


def test_parts_of_a_batch_are_sorted_by_length_and_complete() -> None:
    batch = torch.tensor([[0, 0, 9], [1, 2, 4], [2, 0, 5], [3, 1, 3], [4, 0, 1]])
    parts = list(by_length(batch, 2))
    lengths = [(p[:, 2] - p[:, 1]).tolist() for p in parts]
    assert lengths == [[1, 2], [2, 5], [9]]
    assert sorted(torch.cat(parts)[:, 0].tolist()) == [0, 1, 2, 3, 4]


def test_threads_are_set_for_the_run_and_restored(shop, monkeypatch) -> None:
    sequences, samples, table = shop
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    seen: list[list[int]] = []
    p = parameters(epochs=1, threads=1)
    fit(sequences, samples, table, p, MAX_HISTORY, lambda *_: seen.append(asked.copy()))
    assert seen == [[1]]
    assert asked == [1, 7]


IDENTITY = {"network.item_identity": True, "auxiliary.item_weight": 1.0}


def test_item_vectors_learn_the_next_item_by_identity_alone(shop) -> None:
    """All items share one SID: what is learnt of them is in their identities."""
    sequences, samples, table = shop
    blind = SidTable(np.zeros_like(table.codes), table.item_ids, 6)
    vectors = {"validation.method": "items"}
    fitted, _ = run(
        (sequences, samples, blind), parameters(epochs=30, **IDENTITY | vectors)
    )
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.9
    assert len(fitted.config["identities"]) == ITEMS
    assert not fitted.weights["identities"][0].any()


def test_mdgr_learns(shop) -> None:
    mdgr = {
        "network.history_tokens": "codes",
        "network.mask": "shared",
        "network.difficulty_embedding": True,
        "noising.views": 1,
        "noising.amount": "curriculum",
        "noising.order": "history",
        "label_smoothing": 0.0,
        "loss_reduction": "sum",
    }
    fitted, _ = run(shop, parameters(epochs=30, **mdgr))
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.6
    first = fitted.masking.filter(of="views").sort("epoch", "value")
    begun, ended = (first.filter(epoch=n)["share"] for n in (1, 30))
    assert begun[1] > begun[-1]
    assert ended[1] < ended[-1]


def test_a_weight_without_identities_is_refused() -> None:
    with pytest.raises(ValueError, match="item_identity"):
        parameters(**{"auxiliary.item_weight": 1.0})
