"""What the training figure shows."""

from __future__ import annotations

import polars as pl
import pytest

from sidiff.training.figures import masking_figure, training_figure


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
    figure = training_figure(history)
    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert drawn["loss"] == ([1, 2, 3, 4], [4.0, 3.0, 2.5, 2.4])
    assert drawn["learning rate"][1] == [1e-3, 9e-4, 4e-4, 0.0]
    assert drawn["NDCG@10, SID level"][0] == validated
    (kept,) = figure.layout.shapes
    assert kept.x0 == kept.x1 == 4
    assert "kept: epoch 4" in [note.text for note in figure.layout.annotations]


def test_masking_is_drawn_as_it_was_counted() -> None:
    rows = [
        {"epoch": epoch, "of": of, "value": value, "share": share}
        for epoch in (1, 2)
        for of, shares in (
            ("views", [0.0, 0.7 - 0.1 * epoch, 0.3 + 0.1 * epoch]),
            ("digit", [0.5, 0.9]),
            ("in_history", [0.6, 0.2]),
        )
        for value, share in enumerate(shares)
    ]
    figure = masking_figure(pl.DataFrame(rows))
    sizes, digits, known = figure.axes[:3]
    assert sizes.images[0].get_array().tolist() == [
        pytest.approx([0.6, 0.5]),
        pytest.approx([0.4, 0.5]),
    ]
    assert digits.images[0].get_array().tolist() == [[0.5, 0.5], [0.9, 0.9]]
    named = {line.get_label(): line.get_ydata().tolist() for line in known.lines}
    assert named == {
        "code in the history": [0.2, 0.2],
        "code not in the history": [0.6, 0.6],
    }


def test_several_trainings_have_a_line_each_and_a_colour_per_method() -> None:
    scores = [0.1, None, 0.2, 0.3]
    history = pl.DataFrame(
        {
            "method": ["a", "a", "a", "b"],
            "seed": [1, 1, 2, 1],
            "epoch": [1, 2, 1, 1],
            "train/loss": [4.0, 3.0, 2.0, 1.0],
            "validation/score": scores,
            "validation/sid/ndcg_at_10": scores,
            "validation/item/ndcg_at_10": [0.05, None, 0.1, 0.2],
        }
    )
    drawn = {trace.name: trace for trace in training_figure(history).data}
    assert len(drawn) == 9
    assert list(drawn["a, seed 1: loss"].y) == [4.0, 3.0]
    assert list(drawn["a, seed 1: NDCG@10, SID level"].y) == [0.1]
    assert list(drawn["b, seed 1: NDCG@10, item level"].y) == [0.2]
    first, second, other = (
        drawn[f"{name}: loss"].line.color
        for name in ("a, seed 1", "a, seed 2", "b, seed 1")
    )
    assert first == second != other
