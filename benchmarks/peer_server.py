"""Cornac's SASRec behind Cornac's Flask server, for ``benchmarks.serving``.

As released the server passes no history to SASRec, so every request ends in a
TypeError. Here the model keeps each user's history. Cornac is the optional extra
``bench``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cornac.data import SequentialDataset
from cornac.models import SASRec

# As conf/beauty_cpu sets ours; what a request costs does not depend on the weights, so
# none are trained.
SETTINGS: dict[str, Any] = {
    "embedding_dim": 128,
    "num_blocks": 2,
    "num_heads": 4,
    "max_len": 50,
    "n_epochs": 0,
    "model_selection": "last",
    "seed": 0,
}


class HistoriesKept(SASRec):  # type: ignore[misc]  # Cornac has no types
    """Cornac's SASRec that looks up the histories which its server leaves out."""

    histories: dict[int, list[int]]

    def score(self, user_idx: int, history_items: Any = None, **other: Any) -> Any:
        """Scores of all items for a user's kept history."""
        if history_items is None:
            history_items = self.histories[user_idx]
        return super().score(user_idx, history_items, **other)


def command(
    folder: Path, ids: Sequence[str], histories: Sequence[Sequence[str]], port: int
) -> tuple[list[str], dict[str, str]]:
    """The server of a catalogue's model, with its environment.

    Users are named by their place in ``histories``. gunicorn takes the place of Flask's
    server, which is for development: one process, as ours, and a thread a client.
    """
    data = SequentialDataset.from_usit(list(_interactions(ids, histories)), seed=0)
    model = HistoriesKept(**SETTINGS).fit(data)
    model.histories = {
        data.uid_map[str(user)]: [data.iid_map[item] for item in items]
        for user, items in enumerate(histories)
    }
    place = model.save(str(folder))
    server = [sys.executable, "-m", "gunicorn", "cornac.serving.app:app"]
    server += ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "32"]
    named = f"{__name__}.{HistoriesKept.__name__}"
    root = str(Path(__file__).parents[1])
    return server, {"MODEL_PATH": place, "MODEL_CLASS": named, "PYTHONPATH": root}


def _interactions(
    ids: Sequence[str], histories: Sequence[Sequence[str]]
) -> Iterator[tuple[str, str, str, int]]:
    for user, items in enumerate(histories):
        for time, item in enumerate(items):
            yield str(user), str(user), item, time
    # So that every item can be recommended
    for time, item in enumerate(ids):
        yield "everything", "everything", item, time
