"""Settings of the search for semantic IDs."""

from __future__ import annotations

from typing import Literal

from sidiff.parameters import Count, Natural, Parameters, Seed


class ParallelParameters(Parameters):
    """Several digits per denoiser call (method ``two_stage``)."""

    warmup_steps: Natural
    digits_per_step: Count


class DecodingParameters(Parameters):
    """The search for a user's next semantic IDs."""

    order: Literal["confidence", "random", "fixed"]
    beam: Count
    merge: Literal["none", "max"]
    constraint: Literal["none", "items"]
    last_step: Literal["joint", "greedy"]
    parallel: ParallelParameters
    seed: Seed
