"""Statistics of the filtered data, and warnings about them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sidiff.reviews.sequences import (
    Sequences,
    evaluation_samples,
    trained_places,
    training_items,
    training_part,
)
from sidiff.reviews.settings import FilteringParameters

Statistics = dict[str, int | float]

# Shares above which there is a warning.
_MANY_UNTRAINED = 0.1
_MANY_TIED = 0.25
_MANY_REPEATED = 0.15
# A user with more than this share and this multiple of the mean may be many customers.
_LARGE_SHARE, _TIMES_THE_MEAN = 0.05, 10


def statistics(
    sequences: Sequences,
    samples: NDArray[np.int32],
    max_history: int,
    held_out: NDArray[np.bool_],
) -> Statistics:
    """Describe the filtered data in a flat dict of numbers.

    ``samples`` are ``training_samples``; ``held_out``, bool ``[N]``, marks items.

    Returns:
        Counts, sequence lengths (items), and density (share of user-item pairs).
        ``trained_share`` is the share of interactions in any training sample.
        ``untrained_interactions`` are those of the training part in no sample;
        ``out_of_reach`` counts those of users with samples. ``cold_items`` are in no
        sample, held out or not. ``repeated_targets`` is the share of targets that equal
        the item before them.
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


def warnings_about(
    found: Mapping[str, int | float], rules: FilteringParameters, largest_user: str
) -> list[str]:
    """Return warnings about data that distort the results, each with a remedy.

    ``found`` are ``statistics`` with ``tied_share``; ``largest_user`` is the id of the
    user with the longest sequence.
    """
    untrained, beyond = found["untrained_interactions"], found["out_of_reach"]
    may_train = round(found["trained_share"] * found["interactions"]) + untrained
    warnings = []
    largest = found["max_length"] / found["interactions"]
    many = found["max_length"] > _TIMES_THE_MEAN * found["mean_length"]
    if many and largest > _LARGE_SHARE:
        warnings.append(
            f"User {largest_user} has {largest:.0%} of the interactions: if the id "
            "stands for unknown customers, remove its rows."
        )
    if untrained > _MANY_UNTRAINED * may_train:
        causes = {
            f"are beyond the reach of filtering.windows={rules.windows} (set it to "
            "sliding)": beyond,
            "are of users too short for "
            f"filtering.min_history={rules.min_history}": untrained - beyond,
        }
        counted = (f"{n:,} {cause}" for cause, n in causes.items() if n)
        warnings.append(
            f"{untrained:,} of the {may_train:,} interactions that may train are in no "
            f"training sample: {', '.join(counted)}."
        )
    if found["tied_share"] > _MANY_TIED:
        warnings.append(
            f"{found['tied_share']:.0%} of the interactions share their time with "
            "another of the same user, and a rule orders them, test items too (the "
            "item id in Amazon's files, the order of the file in other tables): give "
            "finer times."
        )
    if found["repeated_targets"] > _MANY_REPEATED:
        warnings.append(
            f"{found['repeated_targets']:.0%} of all targets are the item before them: "
            "if the log has events twice, set filtering.merge_seconds higher (10, for "
            "example)."
        )
    return warnings
