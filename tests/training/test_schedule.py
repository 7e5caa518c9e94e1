"""Learning rate and early stopping by hand."""

from __future__ import annotations

import itertools
import math

import pytest

from sidiff.training.progress import EarlyStopping
from sidiff.training.settings import OptimizerParameters
from sidiff.training.trainer import learning_rate
from tests.settings import training


def optimizer(**changes: object) -> OptimizerParameters:
    base = dict(
        learning_rate=0.01,
        weight_decay=0.0,
        warmup_steps=10,
        max_gradient_norm=1.0,
    )
    return OptimizerParameters.model_validate(base | changes)


def stopping(**changes: object) -> EarlyStopping:
    base = {"first_epoch": 3, "every_epochs": 2, "patience": 2}
    values = {f"validation.{name}": v for name, v in (base | changes).items()}
    return EarlyStopping(training(values).validation)


def test_linear_warm_up_then_half_a_cosine() -> None:
    rates = [learning_rate(step, 30, optimizer()) for step in range(31)]
    assert rates[:11] == pytest.approx([0.001 * step for step in range(11)])
    assert rates[20] == pytest.approx(0.005)
    assert rates[30] == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_a_warm_up_longer_than_the_run_never_ends() -> None:
    rate = learning_rate(103, 104, optimizer(warmup_steps=10_000))
    assert rate == pytest.approx(0.01 * 103 / 10_000)


def test_validation_is_due_from_the_first_epoch_in_steps_and_at_the_end() -> None:
    early = stopping()
    assert [e for e in range(1, 11) if early.due(e, 10)] == [3, 5, 7, 9, 10]


def test_patience_counts_validations_since_the_best() -> None:
    early = stopping()
    assert early.best_score == -math.inf
    assert [early.update(e, s) for e, s in [(3, 0.1), (5, 0.1), (7, 0.2)]] == [
        True,
        False,
        True,
    ]
    assert (early.best_epoch, early.exhausted) == (7, False)
    early.update(9, 0.15)
    assert not early.exhausted
    early.update(11, 0.2)
    assert early.exhausted
    assert (early.best_epoch, early.best_score) == (7, 0.2)
