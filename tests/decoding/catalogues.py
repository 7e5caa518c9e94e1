"""Catalogues for tests."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from sidiff.decoding.catalogue import Catalogue
from sidiff.sids.table import SidTable


def catalogue_of(
    codes: NDArray[np.integer],
    codebook_size: int,
    counts: NDArray[np.int64] | None = None,
) -> Catalogue:
    """A catalogue of one item per row of ``codes``."""
    ids = pl.Series([f"i{row:04}" for row in range(len(codes))])
    table = SidTable(codes.astype(np.uint16), ids, codebook_size)
    if counts is None:
        counts = np.zeros(len(codes), dtype=np.int64)
    return Catalogue.build(table.groups(), codebook_size, counts, torch.device("cpu"))
