"""The filtered data in numbers, and what in them a person should know of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sidiff.reviews.sequences import (
    Sequences,
    Windows,
    evaluation_samples,
    trained_places,
    training_items,
    training_part,
)

Statistics = dict[str, int | float]

# Shares above which a sentence is worth its place on the screen.
_MANY_UNTRAINED = 0.1
_MANY_TIED = 0.25
_MANY_REPEATED = 0.15
# Ties are in the order of the ids, or against it, beyond what chance makes of them.
_SORTED = 0.9


def statistics(
    sequences: Sequences,
    samples: NDArray[np.int32],
    max_history: int,
    held_out: NDArray[np.bool_],
) -> Statistics:
    """Describe the filtered data in flat, JSON-able numbers.

    ``samples`` are ``training_samples``; ``held_out``, bool ``[N]``, marks items.

    Returns:
        Counts, sequence lengths (items), and density (share of user-item pairs).
        ``trained_share`` is the share of interactions in any training sample; those of
        the training part in none are ``untrained_interactions``, of which
        ``out_of_reach`` have users with samples. ``cold_items`` are in no sample,
        whether held out or not. ``repeated_targets`` is the share of the items after a
        user's first that equal the one before them.
    """
    lengths = sequences.lengths
    validation = evaluation_samples(sequences, "validation", max_history)
    test = evaluation_samples(sequences, "test", max_history)
    targets = sequences.items[sequences.offsets[test[:, 0]] + test[:, 2]]
    trained = trained_places(samples, sequences)
    trained_items = int(training_items(samples, sequences).sum())
    items, users = training_part(sequences)
    sampled = np.zeros(sequences.n_users, dtype=bool)
    sampled[samples[:, 0]] = True
    n_trained = int(trained.sum())
    return {
        "users": sequences.n_users,
        "items": sequences.n_items,
        "interactions": int(sequences.items.size),
        "density": sequences.items.size / (sequences.n_users * sequences.n_items),
        "min_length": int(lengths.min()),
        "mean_length": float(lengths.mean()),
        "median_length": float(np.median(lengths)),
        "max_length": int(lengths.max()),
        "training_samples": len(samples),
        "training_items": trained_items,
        "trained_share": n_trained / sequences.items.size,
        "untrained_interactions": items.size - n_trained,
        "out_of_reach": int(sampled[users].sum()) - n_trained,
        "repeated_targets": _repeated(sequences),
        "validation_users": len(validation),
        "test_users": len(test),
        "cold_items": sequences.n_items - trained_items,
        "held_out_items": int(held_out.sum()),
        "held_out_test_users": int(held_out[targets].sum()),
    }


def _repeated(sequences: Sequences) -> float:
    again = sequences.items[1:] == sequences.items[:-1]
    again[sequences.offsets[1:-1] - 1] = False  # neighbours of two users
    possible = sequences.items.size - sequences.n_users
    return int(again.sum()) / possible if possible else 0.0


def concerns(
    found: Mapping[str, int | float],
    *,
    windows: Windows,
    min_history: int,
    merge_seconds: int | None,
    published: bool,
) -> list[str]:
    """Sentences about what in the data bends the results, and what to set.

    ``found`` are ``statistics`` with ``tied_share`` and ``ties_by_item_id``; the
    splits of Amazon's files have rules that are ``published``. The other arguments are
    the parameters of filtering.
    """
    trained = found["trained_share"] * found["interactions"]
    may_train = trained + found["untrained_interactions"]
    beyond = found["out_of_reach"]
    short = found["untrained_interactions"] - beyond
    of = f"of the {round(may_train):,} interactions that may train are"
    said = []
    if beyond > _MANY_UNTRAINED * may_train:
        said.append(
            f"{beyond:,} {of} beyond the reach of filtering.windows={windows}; "
            "set filtering.windows=sliding to train on each user's newest as well."
        )
    if short > _MANY_UNTRAINED * may_train:
        lower = "set filtering.min_history=1 to use more of them"
        said.append(
            f"{short:,} {of} of users too short for a training sample; "
            f"{lower if min_history > 1 else 'bring longer histories'}."
        )
    if found["tied_share"] > _MANY_TIED:
        said.append(
            f"{found['tied_share']:.0%} of the interactions share their time with "
            "another of the same user, and their order, which decides test items too, "
            f"is that of {_order_of_ties(found['ties_by_item_id'], published)}."
        )
    if found["repeated_targets"] > _MANY_REPEATED:
        once = (
            "; if the log notes events twice, set filtering.merge_seconds (10, for "
            "example)."
        )
        merged = (
            f", more than {merge_seconds} seconds later; if these are slips of the log "
            "too, set filtering.merge_seconds higher."
        )
        said.append(
            f"{found['repeated_targets']:.0%} of all targets are the item before them"
            f"{once if merge_seconds is None else merged}"
        )
    return said


def _order_of_ties(upwards: float, published: bool) -> str:
    away = "which gives the last item away to every method"
    if published:
        return f"the item ids, as in the published splits, {away}"
    if not 1 - _SORTED < upwards < _SORTED:
        return (
            f"the file, where they are sorted by item id, {away}; give finer times, or "
            "a file in the order in which they happened"
        )
    return "the file; give finer times if that is not the order in which they happened"
