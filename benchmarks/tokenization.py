"""Tokenization: seconds from embeddings to codes, and from codes to a lattice.

Embeddings are synthetic (a mixture of Gaussians), as many and as long as MiniLM's of
Beauty. Whitening and OPQ are fitted in every round, and all rounds must give the same
bits. A lattice holds all partial SIDs; long SIDs have an inverted index, lists of SIDs
per code. ``continuations`` has the CPU milliseconds of one step of a search with both:
the valid continuations of 64 users' 32 states of two filled digits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import inputs
from benchmarks.common import (
    Row,
    hardware,
    medians,
    paired,
    parser,
    positive,
    publish,
    timed,
)
from sidiff.decoding.inverted_index import InvertedIndex
from sidiff.decoding.lattice import Lattice, fits
from sidiff.sids.quantizers import Quantizer, fit_quantizer
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.whitening import Whitening

CLUSTERS = 200
USERS, BEAM = 64, 32
"""Users and states of each in a step of ``continuations``."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("tokenization", __doc__)
    options.add_argument("--items", type=positive, default=inputs.BEAUTY_ITEMS)
    options.add_argument("--embedding", type=positive, default=384, help="dimensions")
    options.add_argument("--dimensions", type=positive, default=256, help="whitened")
    options.add_argument("--digits", type=positive, default=4)
    options.add_argument("--codes", type=positive, default=256, help="codes per digit")
    options.add_argument(
        "--fits", type=positive, nargs="*", default=[3000], help="items, also fitted"
    )
    options.add_argument(
        "--catalogues",
        type=positive,
        nargs="*",
        default=[inputs.BEAUTY_ITEMS, 100_000, 1_000_000],
        help="items of the lattices",
    )
    options.add_argument(
        "--digit-counts", type=positive, nargs="*", default=[8], help="also built"
    )
    settings = options.parse_args(arguments)
    torch.set_num_threads(settings.threads)
    machine = hardware()
    parameters = inputs.tokenization_parameters(
        {
            "digits": settings.digits,
            "codebook_size": settings.codes,
            "whitening": {"dimensions": settings.dimensions},
            "threads": settings.threads,
        }
    )
    rows = [
        fit(
            embeddings(items, settings.embedding, settings.seed),
            parameters,
            settings.rounds,
        )
        for items in [settings.items, *settings.fits]
    ]
    shapes = [(items, settings.digits) for items in settings.catalogues]
    shapes += [(settings.items, digits) for digits in settings.digit_counts]
    figures: dict[str, Any] = {
        "seconds": rows[0]["total_s"],
        "identical": all(row["identical"] for row in rows),
        "fitting": rows,
        "lattices": [
            build(items, digits, settings.codes, settings.seed, settings.rounds)
            for items, digits in shapes
        ],
        "continuations": [
            continuations(items, digits, settings.codes, settings.seed, settings.rounds)
            for items, digits in shapes
            if fits(items, digits)
        ],
    }
    publish(settings, machine, figures)


def embeddings(items: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors ``(N, D)`` around random centres."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((CLUSTERS, dimensions))
    # Variances that fall off, as those of sentence embeddings do.
    centres *= np.linspace(1.0, 0.1, dimensions)
    drawn = centres[generator.integers(CLUSTERS, size=items)]
    drawn = drawn + 0.5 * generator.standard_normal((items, dimensions))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float32)


def fit(
    vectors: NDArray[np.float32], parameters: TokenizationParameters, rounds: int
) -> Row:
    """Whiten, fit the quantizer and encode ``vectors`` ``(N, D)``, all of them."""
    made: dict[str, Any] = {}
    codes: list[NDArray[np.uint16]] = []
    arrays: list[bytes] = []

    def whiten() -> None:
        settings = parameters.whitening
        whitening = Whitening.fit(vectors, settings.dimensions)
        made["whitened"] = whitening.apply(vectors)

    def quantize() -> None:
        made["quantizer"] = fit_quantizer(
            made["whitened"], parameters, int(parameters.codebook_size)
        )

    def encode() -> None:
        quantizer: Quantizer = made["quantizer"]
        codes.append(quantizer.encode(made["whitened"]))
        tensors = quantizer.to_tensors()
        arrays.append(b"".join(tensors[name].tobytes() for name in sorted(tensors)))

    seconds = paired(
        {"whiten": timed(whiten), "fit": timed(quantize), "encode": timed(encode)},
        max(2, rounds),
    )
    middle = medians(seconds)
    return {
        "items": len(vectors),
        **{f"{name}_s": value for name, value in middle.items()},
        "total_s": sum(middle.values()),
        "identical": len(set(arrays)) == 1
        and all(np.array_equal(codes[0], other) for other in codes),
    }


def build(items: int, digits: int, codes: int, seed: int, rounds: int) -> Row:
    """The lattice, or the inverted index, of random SIDs ``(N, L)``."""
    generator = np.random.default_rng(seed)
    sids = inputs.random_sids(items, digits, codes, generator)
    whole = fits(items, digits)
    made: dict[str, Any] = {}

    def work() -> None:
        if whole:
            made["tree"] = Lattice.build(sids, codes)
        else:
            rows = torch.from_numpy(sids.astype(np.int64))
            made["tree"] = InvertedIndex.build(rows, codes, None)

    seconds = medians(paired({"build": timed(work)}, rounds))["build"]
    tensors = [part for part in vars(made["tree"]).values() if torch.is_tensor(part)]
    return {
        "structure": type(made["tree"]).__name__.lower(),
        "items": items,
        "digits": digits,
        "seconds": seconds,
        "items_per_second": items / seconds,
        "mib": sum(part.numel() * part.element_size() for part in tensors) / 2**20,
    }


@torch.inference_mode()
def continuations(items: int, digits: int, codes: int, seed: int, rounds: int) -> Row:
    """CPU milliseconds of ``counts`` at states with the first two digits filled."""
    generator = np.random.default_rng(seed)
    sids = inputs.random_sids(items, digits, codes, generator).astype(np.int64)
    lattice = Lattice.build(sids, codes)
    inverted = InvertedIndex.build(torch.from_numpy(sids), codes)
    rows = torch.from_numpy(generator.integers(items, size=(USERS, BEAM)))
    filled = inverted.codes[rows]
    masked = torch.ones_like(filled, dtype=torch.bool)
    masked[..., :2] = False
    nodes = torch.zeros_like(rows)
    for digit in range(min(2, digits)):
        nodes = lattice.follow(nodes, torch.full_like(rows, digit), filled[..., digit])
    seconds = paired(
        {
            "lattice": timed(
                partial(lattice.counts, filled, masked, nodes), time.process_time
            ),
            "inverted_index": timed(
                partial(inverted.counts, filled, masked, nodes), time.process_time
            ),
        },
        rounds,
    )
    times = {f"{name}_ms": 1e3 * value for name, value in medians(seconds).items()}
    return {"items": items, "digits": digits, **times}


if __name__ == "__main__":
    main()
