"""The training loop: exact steps, repeatable runs, and a network that learns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from sidiff.diffusion.networks import network_from_saved
from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences, sequence_rows, training_samples
from sidiff.sids.table import SidTable
from sidiff.training import trainer as trainer_module
from sidiff.training.denoising import Job
from sidiff.training.loop import TASKS, Fitted, budget_of, fit
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import Trainer, by_length
from tests.settings import training

ITEMS, MAX_HISTORY = 24, 10
VALIDATED = {"items": "items", "digits": "cpd"}
"""Kinds of network, and how each is validated."""
kinds = pytest.mark.parametrize("posterior", VALIDATED)


def parameters(posterior: str = "items", **changes: object) -> TrainingParameters:
    small = {
        "network.posterior": posterior,
        "network.d_model": 32,
        "network.heads": 2,
        "network.d_ff": 48,
        "network.encoder_layers": 1,
        "network.decoder_layers": 1,
        "noising.views": 3,
        "label_smoothing": 0.05,
        "optimizer.learning_rate": 0.01,
        "optimizer.warmup_steps": 5,
        "validation.first_epoch": 2,
        "validation.every_epochs": 2,
        "validation.patience": 20,
        "validation.level": "item",
        "validation.max_users": 0,
        "validation.users_per_batch": 16,
        "validation.method": VALIDATED[posterior],
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
    job = Job(sequences, samples, table, p, MAX_HISTORY)
    fitted = fit(job, lambda *call: calls.append(call))
    return fitted, calls


@pytest.mark.parametrize(
    ("posterior", "method"), [("items", "items"), ("items", "cpd"), ("digits", "cpd")]
)
def test_it_learns_the_next_item(shop, posterior, method) -> None:
    """At partial semantic IDs as well, where a search finds it."""
    validated = {"validation.method": method}
    fitted, _ = run(shop, parameters(posterior, epochs=60, seed=2, **validated))
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.9
    assert fitted.history["train/loss"][-1] < fitted.history["train/loss"][0]


@kinds
def test_bfloat16_trains_alike(shop, posterior) -> None:
    # Steps so small that rounding does not send the digits masked another way.
    calm = {"epochs": 4, "optimizer.learning_rate": 0.003}
    exact, _ = run(shop, parameters(posterior, **calm))
    lowered = parameters(posterior, **calm, precision="bfloat16")
    fitted, _ = run(shop, lowered)
    again, _ = run(shop, lowered)
    losses = exact.history["train/loss"].to_list()
    assert losses[-1] < losses[0] - 0.1
    assert fitted.history["train/loss"].to_list() == pytest.approx(losses, rel=0.02)
    assert fitted.history.equals(again.history)
    assert not torch.equal(fitted.weights["codes"], exact.weights["codes"])
    assert fitted.weights["codes"].dtype == torch.float32


@kinds
def test_the_same_seed_gives_the_same_weights(shop, posterior) -> None:
    first, _ = run(shop, parameters(posterior))
    second, _ = run(shop, parameters(posterior))
    other, _ = run(shop, parameters(posterior, seed=2))
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name]), name
    assert first.history.equals(second.history)
    assert first.masking.equals(second.masking)
    assert not torch.equal(first.weights["codes"], other.weights["codes"])


@pytest.mark.parametrize(
    ("posterior", "reduction"),
    [("digits", "per_view"), ("digits", "pooled"), ("digits", "sum"), ("items", "sum")],
)
def test_passes_of_any_size_make_the_same_step(shop, posterior, reduction) -> None:
    """Cutting a batch into passes changes the rounding of its gradient only.

    And what is drawn for a pass, such as the positions of partial views.
    """
    sequences, samples, table = shop
    gradients = []
    for size in (64, 7):
        whole = {
            "network.dropout": 0.0,
            "network.residual_dropout": 0.0,
            "partial_weight": 0.0,
            "samples_per_pass": size,
            "loss_reduction": reduction,
        }
        p = parameters(posterior, **whole)
        task = TASKS[posterior](Job(sequences, samples, table, p, MAX_HISTORY))
        trainer = Trainer(task, task.samples, budget_of(p))
        task.model.train()
        seen: list[torch.Tensor] = []
        trainer.optimizer.step = lambda task=task, seen=seen: seen.extend(
            weight.grad.clone()
            for weight in task.network.parameters()
            if weight.grad is not None
        )
        trainer.step(trainer.samples[:64], 0.0)
        gradients.append(seen)
    assert len(gradients[0]) > 10
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


@kinds
def test_the_best_validated_epoch_is_kept(shop, posterior) -> None:
    fitted, calls = run(shop, parameters(posterior, epochs=4))
    scored = {e: f["validation/score"] for e, f in calls if "validation/score" in f}
    assert set(scored) == {2, 4}
    best = max(scored, key=scored.get)
    assert fitted.config["best_epoch"] == best
    assert fitted.config["best_score"] == scored[best]
    assert fitted.history["epoch"].to_list() == [1, 2, 3, 4]
    network = network_from_saved(fitted.weights, fitted.config)
    assert (
        type(network).__name__
        == {
            "items": "JointDenoiser",
            "digits": "Denoiser",
        }[posterior]
    )
    assert fitted.config["parameters"] == sum(p.numel() for p in network.parameters())


@kinds
def test_the_speed_is_that_of_all_samples(shop, monkeypatch, posterior) -> None:
    """Also where no progress bar is shown, which then counts nothing."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(trainer_module.time, "perf_counter", lambda: float(next(clock)))
    _, calls = run(shop, parameters(posterior))
    speeds = [figures["train/samples_per_second"] for _, figures in calls]
    sequences, samples, _ = shop
    trained = {"digits": samples, "items": sequence_rows(sequences, MAX_HISTORY)}
    assert speeds == [len(trained[posterior]) / 2.0] * 2


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


@kinds
def test_no_samples_is_one_clear_error(shop, posterior) -> None:
    sequences, samples, table = shop
    short = Sequences(
        sequences.items[:450],
        np.arange(0, 451, 3),
        sequences.user_ids,
        sequences.item_ids,
    )
    given = parameters(posterior)
    with pytest.raises(SidiffError, match="min_history"):
        fit(Job(short, samples[:0], table, given, MAX_HISTORY), lambda *_: None)


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
    job = Job(sequences, samples, table, p, MAX_HISTORY)
    fit(job, lambda *_: seen.append(asked.copy()))
    assert seen == [[1]]
    assert asked == [1, 7]


def test_items_of_one_semantic_id_are_told_apart_by_their_residuals(shop) -> None:
    """All items share one SID: what is learnt of them is beside their codes."""
    sequences, samples, table = shop
    blind = SidTable(np.zeros_like(table.codes), table.item_ids, 6)
    fitted, _ = run((sequences, samples, blind), parameters(epochs=60))
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.9
    assert fitted.config["known_items"] == table.item_ids.to_list()
    assert not fitted.weights["residuals"][0].any()


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
    fitted, _ = run(shop, parameters("digits", epochs=30, **mdgr))
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.6
    first = fitted.masking.filter(of="views").sort("epoch", "value")
    begun, ended = (first.filter(epoch=n)["share"] for n in (1, 30))
    assert begun[1] > begun[-1]
    assert ended[1] < ended[-1]
