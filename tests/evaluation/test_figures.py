"""What the metrics figure shows."""

from __future__ import annotations

import pytest

from sidiff.evaluation.figures import metrics_figure

NAMES = ["recall_at_5", "ndcg_at_5"]


def metrics(controls: list[str]) -> dict[str, float]:
    rows = ["test/sid", "test/item", "test/popularity"]
    rows += [f"test/controls/{order}/sid" for order in controls]
    rows += [f"test/controls/{order}/item" for order in controls]
    values = {f"{row}/{name}": 0.1 * i for i, row in enumerate(rows) for name in NAMES}
    extra = {"test/controls/n_users": 10.0} if controls else {}
    return {"n_users": 1234.0} | values | extra


@pytest.mark.parametrize("controls", [[], ["confidence", "random"]])
def test_bars_and_titles(controls: list[str]) -> None:
    values = metrics(controls)
    panels = metrics_figure(values).axes
    assert len(panels) == (2 if controls else 1)
    assert "1,234 users" in panels[0].get_title()
    drawn = [[bar.get_height() for bar in group] for group in panels[0].containers]
    expected = [
        [values[f"{row}/{name}"] for name in NAMES]
        for row in ("test/sid", "test/item", "test/popularity")
    ]
    assert drawn == expected
    assert [t.get_text() for t in panels[0].get_xticklabels()] == ["Recall@5", "NDCG@5"]
