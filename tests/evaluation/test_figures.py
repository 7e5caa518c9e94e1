"""What the metrics figure shows."""

from __future__ import annotations

from sidiff.evaluation.figures import metrics_figure

NAMES = ["recall_at_5", "ndcg_at_5"]


ROWS = ("test/sid", "test/item", "test/popularity")


def test_bars_and_title() -> None:
    values = {f"{row}/{name}": 0.1 * i for i, row in enumerate(ROWS) for name in NAMES}
    (panel,) = metrics_figure({"n_users": 1234.0} | values).axes
    assert "1,234 users" in panel.get_title()
    drawn = [[bar.get_height() for bar in group] for group in panel.containers]
    assert drawn == [[values[f"{row}/{name}"] for name in NAMES] for row in ROWS]
    assert [t.get_text() for t in panel.get_xticklabels()] == ["Recall@5", "NDCG@5"]
