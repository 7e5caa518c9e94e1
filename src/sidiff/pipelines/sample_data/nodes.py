"""The generator of the synthetic shop as a node."""

from __future__ import annotations

from sidiff.reviews.sample_shop import generate
from sidiff.reviews.settings import SampleDataParameters


def generate_sample_shop(
    sample_data: SampleDataParameters, source: str
) -> tuple[list[str], list[str]]:
    """Return the lines of a review file and of a metadata file.

    Args:
        sample_data: the group of parameters.
        source: ``sample``, or ``files`` where the raw files are real: then there are
            no lines, and what lies there stays.
    """
    if source != "sample":
        return [], []
    shop = generate(sample_data)
    return shop.review_lines, shop.metadata_lines
