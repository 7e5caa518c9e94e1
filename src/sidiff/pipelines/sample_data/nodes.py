"""The generator of the synthetic shop as a node."""

from __future__ import annotations

from typing import Any

from sidiff.parameters import SampleDataParameters
from sidiff.reviews.sample_shop import generate


def generate_sample_shop(
    parameters: dict[str, Any], source: str
) -> tuple[list[str], list[str]]:
    """Return the lines of a review file and of a metadata file.

    Args:
        parameters: the group ``sample_data``.
        source: ``sample``, or ``files`` where the raw files are real: then there are
            no lines, and what lies there stays.
    """
    if source != "sample":
        return [], []
    shop = generate(SampleDataParameters.model_validate(parameters))
    return shop.review_lines, shop.metadata_lines
