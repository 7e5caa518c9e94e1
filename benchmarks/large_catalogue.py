"""Large catalogues: an exact pass over all items against two searches of their codes.

A posterior over items gives item i the energy E(i) = z(i) + u . r_i, where z(i) is the
sum of one number per code. The exact pass is one product of the users with all item
vectors. Exact marginals of digits are sums over all items as well, so a search that
begins with them (``evaluation.method: cpd``) costs more than that pass. Both searches
here look at codes alone, and rescore the items that they reach by E:

- digits: the first half of the digits is filled by its probability, as if the other
  half were independent of it; the items of the best beams are candidates;
- halves: an item with z >= t has z >= a in the first half of its digits or z > t - a in
  the second, so the items of few pairs of codes hold all that reach t, exactly.

t is estimated from a sample of items for a given number of items above it. The repeat
gate is left out: it concerns few items per user, which can be looked up.

Energies are synthetic: codes are drawn independently and unevenly; code vectors and
residuals are Gaussian, and ``--shares`` is the residuals' share of the variance of item
vectors. A user is the decaying sum of a few random items outside the catalogue, scaled
so that the perplexity of the posterior is the share ``--perplexity`` of the catalogue.
``--denoiser`` with ``--sequences`` and ``--sid-table`` prints both numbers of a trained
network instead.

Seconds are CPU seconds of the one thread.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import inputs
from benchmarks.common import (
    Row,
    hardware,
    medians,
    paired,
    parser,
    peak_during,
    positive,
    publish,
    timed,
)
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.histories import Histories, residual_rows
from sidiff.diffusion.joint import ItemTable, JointDenoiser
from sidiff.onednn import product
from sidiff.reviews.sequences import evaluation_samples

DIGITS, CODES = 4, 256
PAIRS = CODES**2
TOP = 10
AT_ONCE = 2**13
"""Items of a chunk of the exact pass: the energies of 64 users stay in the cache."""
SAMPLE = 2**15
"""Items by which the number above a threshold is guessed."""

Lists = list[NDArray[np.int64]]
"""Items of every user, best first."""


class Items(NamedTuple):
    """N items in the order of their SIDs.

    Attributes:
        first: number of the first two codes, ``(N,)`` int32, ascending.
        second: of the last two, ``(N,)`` int32.
        tables: what a code adds to an item's vector, ``(L, K, d)``.
        vectors: with the residuals, ``(N, d)``.
    """

    first: Tensor
    second: Tensor
    tables: Tensor
    vectors: Tensor


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("large_catalogue", __doc__)
    options.add_argument(
        "--items", type=positive, nargs="+", default=[1_000_000, 10_000_000]
    )
    options.add_argument("--width", type=positive, default=64, help="of the vectors")
    options.add_argument(
        "--users", type=positive, default=64, help="ranked, in one batch"
    )
    options.add_argument("--denoiser", type=Path, help="stored network (safetensors)")
    options.add_argument("--sequences", type=Path, help="stored (Parquet)")
    options.add_argument("--sid-table", type=Path, help="stored (Parquet)")
    options.add_argument(
        "--shares", type=float, nargs="+", default=[0.2], help="of the residuals"
    )
    options.add_argument(
        "--perplexity", type=float, default=0.1, help="of the posterior, by items"
    )
    options.add_argument(
        "--beams", type=positive, nargs="*", default=[256, 1024, 4096], help="of digits"
    )
    options.add_argument(
        "--rescored", type=positive, nargs="*", default=[1000, 4000, 16_000]
    )
    settings = options.parse_args(arguments)
    if settings.threads != 1:
        options.error("the seconds are those of one thread")
    torch.set_num_threads(1)
    machine = hardware()
    figures: dict[str, Any] = {"searches": []}
    with torch.inference_mode():
        if settings.denoiser:
            figures = {"trained": trained(settings, options)}
            settings.items = []
        for count in settings.items:
            for share in settings.shares:
                figures["searches"] += measured(settings, count, share)
    publish(settings, machine, figures)


def measured(settings: Any, count: int, share: float) -> list[Row]:
    """The rows of one catalogue."""
    generator = np.random.default_rng(settings.seed)
    items, users = drawn(settings, count, share, generator)
    began = time.process_time()
    index = Index.build(items, generator)
    indexing = time.process_time() - began
    searches: dict[str, Callable[[], Lists]] = {"exact": partial(exact, users, items)}
    for rescored in settings.rescored:
        searches[f"halves, {rescored:,} rescored"] = partial(
            halves, users, items, index, rescored
        )
    for beam in settings.beams:
        searches[f"digits, beam {beam:,}"] = partial(
            digits, users, items, index, max(settings.rescored, default=TOP), beam
        )
    seconds = paired(
        {name: timed(work, time.process_time) for name, work in searches.items()},
        settings.rounds,
    )
    wanted = exact(users, items)
    rows = []
    for name, middle in medians(seconds).items():
        found: list[Lists] = []
        peak = peak_during(partial(_kept, found, searches[name]))
        hits = [
            len(np.intersect1d(mine, true)) / TOP
            for mine, true in zip(found[0], wanted, strict=True)
        ]
        rows.append(
            {
                "items": count,
                "residuals": share,
                "search": name,
                "users_per_cpu_second": len(users) / middle,
                "exact_pass_by_this": medians(seconds)["exact"] / middle,
                "found_of_exact": float(np.mean(hits)),
                "peak_mib": peak,
                "index_mib": 0.0 if name == "exact" else index.mebibytes,
                "index_s": None if name == "exact" else indexing,
            }
        )
    return rows


def trained(settings: Any, options: ArgumentParser) -> Row:
    """What the energies of a trained network are like, means over some users.

    Returns:
        The residuals' share of the variance over items; the perplexity; and of how
        many of the items, the best by their codes, the ten best are nearly always
        (99 of 100) among: both as shares of the catalogue.
    """
    shop = inputs.load_shop(settings, options)
    network, known = inputs.stored_network(settings.denoiser)
    if not isinstance(network, JointDenoiser):
        options.error(f"{settings.denoiser} has no posterior over items")
    rows = residual_rows(known, shop.table.item_ids)
    items = ItemTable.of(shop.table.codes, rows, torch.device("cpu"))
    histories = Histories(shop.sequences, items)
    posterior = Posterior(network, items)
    samples = evaluation_samples(shop.sequences, "test", network.config.max_history)
    hidden = posterior.encode(histories.gather(torch.from_numpy(samples))).users
    residuals = product(hidden, network.residual_vectors(items.residuals))
    energies = product(hidden, posterior.vectors)
    log_p = energies.log_softmax(1)
    spread = (log_p.exp() * -log_p).sum(1).exp() / energies.shape[1]
    best = energies.topk(TOP).indices
    places = (residuals - energies).argsort(1).argsort(1).gather(1, best) + 1.0
    return {
        "items": energies.shape[1],
        "users": len(energies),
        "residuals": float((residuals.var(1) / energies.var(1)).mean()),
        "perplexity": float(spread.mean()),
        "codes_find_99": float(places.quantile(0.99)) / energies.shape[1],
    }


def _kept(found: list[Lists], search: Callable[[], Lists]) -> None:
    found.append(search())


def drawn(
    settings: Any, count: int, share: float, generator: np.random.Generator
) -> tuple[Items, Tensor]:
    """Items and users' hidden states ``(U, d)``, drawn as the module describes."""
    often = (np.arange(CODES) + 10.0) ** -0.8
    often /= often.sum()
    keys = np.zeros(count, dtype=np.uint32)
    for _ in range(DIGITS):
        keys *= CODES
        keys += generator.choice(CODES, count, p=often).astype(np.uint32)
    keys.sort()
    first = torch.from_numpy((keys // PAIRS).astype(np.int32))
    second = torch.from_numpy((keys % PAIRS).astype(np.int32))
    shape = (DIGITS, CODES, settings.width)
    tables = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    residual = (DIGITS * share / (1.0 - share)) ** 0.5
    vectors = np.empty((count, settings.width), dtype=np.float32)
    of_first, of_second = (
        (tables[low, :, None] + tables[low + 1]).flatten(0, 1) for low in (0, 2)
    )
    for start in range(0, count, PAIRS):
        part = slice(start, start + PAIRS)
        generator.standard_normal(dtype=np.float32, out=vectors[part])
        chunk = torch.from_numpy(vectors[part])
        chunk *= residual
        chunk += of_first.index_select(0, first[part])
        chunk += of_second.index_select(0, second[part])
    items = Items(first, second, tables, torch.from_numpy(vectors))
    liked = (settings.users, LIKED)
    liked_vectors = residual * torch.from_numpy(
        generator.standard_normal((*liked, settings.width), dtype=np.float32)
    )
    for table in tables:
        codes = torch.from_numpy(generator.choice(CODES, liked, p=often))
        liked_vectors += table[codes]
    users = (liked_vectors * 0.7 ** torch.arange(LIKED)[:, None]).sum(1)
    return items, spread(users, items, settings.perplexity, generator)


LIKED = 5
"""Items that make a user's state, each with 0.7 of the weight of the one before."""


def spread(
    users: Tensor, items: Items, perplexity: float, generator: np.random.Generator
) -> Tensor:
    """States scaled such that the perplexity is that share of the catalogue."""
    vectors = items.vectors
    if len(vectors) > SAMPLE:
        sample = torch.from_numpy(generator.integers(len(vectors), size=SAMPLE))
        vectors = vectors.index_select(0, sample)
    energies = product(users, vectors)
    entropy = np.log(perplexity * len(vectors))
    low, high = torch.full((2, len(users), 1), -10.0)
    high = high + 20.0
    for _ in range(40):
        middle = (low + high) / 2
        log_p = (energies * middle.exp()).log_softmax(1)
        wide = -(log_p.exp() * log_p).sum(1, keepdim=True) > entropy
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return users * high.exp()


def exact(users: Tensor, items: Items) -> Lists:
    """All energies, chunk by chunk, of which the best so far are kept."""
    best = torch.full((len(users), TOP), -torch.inf)
    rows = torch.zeros(len(users), TOP, dtype=torch.int64)
    for start in range(0, len(items.vectors), AT_ONCE):
        energies = product(users, items.vectors[start : start + AT_ONCE])
        # Of most chunks nothing is among the best: their maximum says so.
        better = (energies.amax(1) > best[:, -1]).nonzero()[:, 0]
        if not len(better):
            continue
        values, columns = energies[better].topk(min(TOP, energies.shape[1]))
        values, order = torch.cat([best[better], values], 1).topk(TOP)
        columns = torch.cat([rows[better], columns + start], 1)
        best[better], rows[better] = values, columns.gather(1, order)
    return list(rows.numpy())


class Index(NamedTuple):
    """What the searches look up.

    Attributes:
        starts: where the items of each first pair begin, ``(K * K + 1,)``.
        by_second: items in the order of their second pair, ``(N,)`` int32.
        second_starts: where those of each second pair begin, ``(K * K + 1,)``.
        first_by_second: first pair of the items in that order, ``(N,)`` int32.
        sample: the first and the second pairs of some items, ``(SAMPLE,)`` each.
    """

    starts: NDArray[np.int64]
    by_second: Tensor
    second_starts: NDArray[np.int64]
    first_by_second: Tensor
    sample: tuple[Tensor, Tensor]

    @classmethod
    def build(cls, items: Items, generator: np.random.Generator) -> Index:
        """Sort the items by their second pair as well."""
        second = items.second.numpy().astype(np.uint16)
        order = torch.from_numpy(second.argsort(kind="stable").astype(np.int32))
        some = torch.from_numpy(generator.integers(len(second), size=SAMPLE))
        return cls(
            _starts(items.first),
            order,
            _starts(items.second),
            items.first.index_select(0, order),
            (items.first.index_select(0, some), items.second.index_select(0, some)),
        )

    @property
    def mebibytes(self) -> float:
        """Of memory, beside the items' own codes and vectors."""
        return sum(part.nbytes for part in self[:4]) / 2**20


def _starts(pairs: Tensor) -> NDArray[np.int64]:
    return np.append(0, np.bincount(pairs.numpy(), minlength=PAIRS).cumsum())


class Scores(NamedTuple):
    """z of one user's pairs of codes, ``(K * K,)`` each, and what is enough for items.

    Attributes:
        first: of the first pairs.
        second: of the second pairs.
        least: about so many items as are wanted reach it.
    """

    first: Tensor
    second: Tensor
    least: float

    @classmethod
    def of(cls, z: Tensor, index: Index, wanted: int) -> Scores:
        """Add up what the codes give, ``(L, K)``, where ``wanted`` items are."""
        first, second = ((z[low, :, None] + z[low + 1]).flatten() for low in (0, 2))
        some = first.index_select(0, index.sample[0])
        some += second.index_select(0, index.sample[1])
        place = max(1, min(SAMPLE, round(SAMPLE * wanted / len(index.by_second))))
        return cls(first, second, float(some.topk(place).values[-1]))


def halves(users: Tensor, items: Items, index: Index, wanted: int) -> Lists:
    """The items of highest z, from the best pairs of either half, rescored."""
    found: Lists = []
    for user, z in zip(users, _of_codes(users, items), strict=True):
        first, second, least = Scores.of(z, index, wanted)
        # Both halves are cut equally far from their means.
        spreads, means = (f(z, dim=1).view(2, 2) for f in (torch.var, torch.mean))
        width, other = spreads.sum(1).sqrt().tolist()
        mean, other_mean = means.sum(1).tolist()
        cut = mean + width * (least - mean - other_mean) / (width + other)
        pairs = np.flatnonzero(first.numpy() >= cut)
        places, missing = _listed(pairs, index.starts, first, least)
        rest = second.index_select(0, items.second.index_select(0, places)).numpy()
        mine = places.numpy()[np.flatnonzero(rest >= missing)]
        pairs = np.flatnonzero(second.numpy() > least - cut)
        places, missing = _listed(pairs, index.second_starts, second, least)
        others = index.first_by_second.index_select(0, places)
        rest = first.index_select(0, others).numpy()
        enough = (rest >= missing) & (rest < cut)
        more = index.by_second.numpy()[places.numpy()[np.flatnonzero(enough)]]
        found.append(rescored(user, items, np.concatenate([mine, more])))
    return found


def digits(users: Tensor, items: Items, index: Index, wanted: int, beam: int) -> Lists:
    """The items of the likeliest first pairs, those of highest z rescored."""
    counts = torch.from_numpy(np.diff(index.starts)).log()
    found: Lists = []
    for user, z in zip(users, _of_codes(users, items), strict=True):
        first, second, least = Scores.of(z, index, wanted)
        pairs = (first + counts).topk(min(beam, PAIRS)).indices.numpy()
        places, missing = _listed(pairs, index.starts, first, least)
        rest = second.index_select(0, items.second.index_select(0, places)).numpy()
        mine = places.numpy()[np.flatnonzero(rest >= missing)]
        found.append(rescored(user, items, mine))
    return found


def _of_codes(users: Tensor, items: Items) -> Tensor:
    """What each code gives to z, ``(U, L, K)``."""
    return product(users, items.tables.flatten(0, 1)).unflatten(1, (DIGITS, CODES))


def _listed(
    pairs: NDArray[np.int64], starts: NDArray[np.int64], scores: Tensor, least: float
) -> tuple[Tensor, NDArray[np.float32]]:
    """Places of the items of some pairs, and what each of them lacks to ``least``."""
    first = starts[pairs]
    counts = starts[pairs + 1] - first
    places = np.repeat(first - counts.cumsum() + counts, counts)
    places += np.arange(len(places))
    return torch.from_numpy(places), np.repeat(least - scores.numpy()[pairs], counts)


def rescored(user: Tensor, items: Items, places: NDArray[np.integer]) -> NDArray[Any]:
    """The best of some items by their energies."""
    rows = torch.from_numpy(places.astype(np.int64))
    energies = items.vectors.index_select(0, rows) @ user
    return rows[energies.topk(min(TOP, len(rows))).indices].numpy()


if __name__ == "__main__":
    main()
