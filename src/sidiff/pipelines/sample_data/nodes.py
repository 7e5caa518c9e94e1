"""Node that generates the synthetic shop."""

from __future__ import annotations

from sidiff.reviews.sample_shop import generate
from sidiff.reviews.settings import SampleDataParameters


def generate_sample_shop(
    sample_data: SampleDataParameters, source: str
) -> tuple[list[str], list[str]]:
    """Return the lines of a review file and of a metadata file.

    Args:
        sample_data: settings of the generator.
        source: ``sample``, or ``files`` for real raw files, which are not replaced: no
            lines are returned.
    """
    if source != "sample":
        return [], []
    shop = generate(sample_data)
    return shop.review_lines, shop.metadata_lines
