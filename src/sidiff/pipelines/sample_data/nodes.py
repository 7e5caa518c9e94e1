"""The generator of the synthetic shop as a node."""

from __future__ import annotations

from typing import Any

from sidiff.parameters import SampleDataParameters
from sidiff.reviews.sample_shop import generate


def generate_sample_shop(parameters: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines of a review file and of a metadata file."""
    shop = generate(SampleDataParameters.model_validate(parameters))
    return shop.review_lines, shop.metadata_lines
