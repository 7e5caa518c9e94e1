"""Small embeddings with cluster structure, and the settings of the stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sidiff.sids.settings import TokenizationParameters
from tests.settings import model

Settings = Callable[..., TokenizationParameters]


@pytest.fixture
def embeddings() -> NDArray[np.float32]:
    """(700, 24) float32 of unit length: 40 clusters, and four equal rows."""
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(40, 24))
    x = centres[generator.integers(40, size=700)]
    x = x + 0.4 * generator.normal(size=x.shape)
    x[6:9] = x[5]
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def trained() -> NDArray[np.bool_]:
    """(700,) nineteen of twenty items are in training."""
    return np.arange(700) % 20 != 0


@pytest.fixture
def settings() -> Settings:
    """Settings of the stage, with changes."""

    def build(**changes: Any) -> TokenizationParameters:
        values = {
            "whitening": {"dimensions": 16},
            "codebook_size": 8,
            "device": "cpu",
            "collisions": "share",
        }
        return model("tokenization", values | changes)

    return build
