"""The SIDs that exist, as a decoder needs them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from sidiff.decoding.keys import SidIndex
from sidiff.decoding.lattice import Lattice


class Catalogue:
    """Distinct SIDs on one device, with their index and, when asked for, lattice.

    Attributes:
        codes: the SIDs, ``(S, L)`` int64.
        codes_per_digit: K.
        index: from codes to rows.
    """

    def __init__(
        self, codes: NDArray[np.integer], codes_per_digit: int, device: torch.device
    ) -> None:
        """Take the distinct SIDs ``codes`` ``(S, L)``."""
        self.codes = torch.from_numpy(codes.astype(np.int64)).to(device)
        self.codes_per_digit = codes_per_digit
        self.index = SidIndex(codes, codes_per_digit, device)

    @cached_property
    def lattice(self) -> Lattice:
        """Which (digit, code) may follow a partial SID; built at its first use."""
        lattice = Lattice.build(self.codes.cpu().numpy(), self.codes_per_digit)
        return lattice.to(self.codes.device)
