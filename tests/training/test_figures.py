"""What the training figure shows."""

from __future__ import annotations

import polars as pl
import pytest

from sidiff.training.figures import training_figure


@pytest.mark.parametrize("validated", [[2, 4], [4]])
def test_curves_and_the_kept_epoch(validated: list[int]) -> None:
    score = {2: 0.02, 4: 0.03}
    scores = [score[e] if e in validated else None for e in range(1, 5)]
    history = pl.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "train/loss": [4.0, 3.0, 2.5, 2.4],
            "train/learning_rate": [1e-3, 9e-4, 4e-4, 0.0],
            "validation/score": scores,
            "validation/sid/ndcg_at_10": scores,
            "validation/item/ndcg_at_10": scores,
        }
    )
    loss, validation, rate = training_figure(history).axes
    assert loss.lines[0].get_ydata().tolist() == [4.0, 3.0, 2.5, 2.4]
    assert rate.lines[0].get_ydata().tolist() == [1e-3, 9e-4, 4e-4, 0.0]
    assert validation.lines[0].get_xdata().tolist() == validated
    assert validation.get_legend().get_texts()[-1].get_text() == "kept: epoch 4"
