"""Learning-rate schedule and early stopping."""

from __future__ import annotations

import math

from sidiff.training.settings import OptimizerParameters, StoppingParameters


def learning_rate(
    step: int, total_steps: int, parameters: OptimizerParameters
) -> float:
    """Rate at optimiser step ``step`` (from 0).

    Linear warm-up from 0 over ``warmup_steps``, then half a cosine that reaches 0 at
    ``total_steps``. A warm-up longer than the run never ends, as in the
    papers' settings.
    """
    peak = parameters.learning_rate
    if step < parameters.warmup_steps:
        return peak * step / parameters.warmup_steps
    progress = (step - parameters.warmup_steps) / max(
        1, total_steps - parameters.warmup_steps
    )
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


class EarlyStopping:
    """Remembers the best validation score and when to give up.

    Attributes:
        best_score: highest score so far; -inf before the first.
        best_epoch: its epoch; 0 before the first.
    """

    def __init__(self, parameters: StoppingParameters) -> None:
        self.parameters = parameters
        self.best_score = -math.inf
        self.best_epoch = 0
        self.stale = 0

    def due(self, epoch: int, last_epoch: int) -> bool:
        """Epochs after which to validate: test of ``epoch``; the last one always is."""
        since = epoch - self.parameters.first_epoch
        regular = since >= 0 and since % self.parameters.every_epochs == 0
        return regular or epoch == last_epoch

    def update(self, epoch: int, score: float) -> bool:
        """Record a score; True when it is the best so far."""
        if score > self.best_score:
            self.best_score, self.best_epoch, self.stale = score, epoch, 0
            return True
        self.stale += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Test that ``patience`` validations in a row brought nothing."""
        return self.stale >= self.parameters.patience
