"""A synthetic shop in the raw layout of Amazon 2014.

Brands, items, shoppers and reviews are drawn from a seeded generator. With the shop,
the whole pipeline runs offline on the same files as real data. The data have structure
that a model can learn:

- an item is a product type of a department, by a brand, in a variety (a scent, a skin
  type, ...), and its text names all of these; items of one brand and variety form a
  *line*;
- a shopper has two favourite lines, which change now and then;
- each purchase continues the routine (a complement of the last item, from the same
  line), follows the taste (same department and variety, or same brand), or is any
  popular item.

Popularity is skewed for lines and for items. Days tie as in real data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from sidiff.reviews.settings import SampleDataParameters

# Items per shopper: at least five, so that the 5-core keeps nearly all.
_SHORTEST, _MEAN_LENGTH, _LONGEST = 5, 9.0, 30
_P_ROUTINE, _P_TASTE = 0.4, 0.4
_P_DRIFT = 0.06
# Steps along the routine from an item to its complement, and their shares.
_STEPS = np.array([1, 2, 3, 4, 5])
_STEP_SHARES = np.array([0.55, 0.2, 0.1, 0.07, 0.08])
_PROPOSALS = 6
_FIRST_DAY = datetime(2012, 1, 1, tzinfo=UTC)
_P_SAME_DAY = 0.15
_MEAN_GAP_DAYS = 14.0
_RATING_SHARES = np.array([0.04, 0.05, 0.11, 0.2, 0.6])


@dataclass(frozen=True)
class Department:
    """Product types in the order of a routine, and the varieties they come in."""

    path: tuple[str, ...]
    types: tuple[str, ...]
    varieties: tuple[str, ...]
    aspect: str


_DEPARTMENTS = (
    Department(
        ("Beauty", "Hair Care"),
        ("Shampoo", "Conditioner", "Hair Mask", "Leave-In Spray", "Hair Oil", "Gel"),
        ("Lavender", "Coconut", "Argan", "Green Tea", "Citrus", "Rosemary"),
        "Scent",
    ),
    Department(
        ("Beauty", "Skin Care", "Face"),
        ("Cleanser", "Toner", "Serum", "Moisturizer", "Sunscreen", "Night Cream"),
        ("Dry Skin", "Oily Skin", "Sensitive Skin", "Mature Skin", "Acne", "All Skin"),
        "Skin type",
    ),
    Department(
        ("Beauty", "Makeup"),
        ("Primer", "Foundation", "Concealer", "Blush", "Mascara", "Lipstick"),
        ("Matte", "Dewy", "Shimmer", "Satin", "Mineral", "Waterproof"),
        "Finish",
    ),
    Department(
        ("Beauty", "Bath & Body"),
        ("Body Wash", "Body Scrub", "Bath Salt", "Body Lotion", "Hand Cream", "Soap"),
        ("Vanilla", "Rose", "Sandalwood", "Peppermint", "Honey", "Unscented"),
        "Scent",
    ),
    Department(
        ("Beauty", "Makeup", "Nails"),
        ("Base Coat", "Nail Polish", "Top Coat", "Cuticle Oil", "Remover", "Nail File"),
        ("Red", "Nude", "Pastel", "Glitter", "Neon", "French"),
        "Colour",
    ),
    Department(
        ("Health & Personal Care", "Shaving & Hair Removal", "Men's"),
        ("Pre-Shave Oil", "Shaving Cream", "Razor", "Aftershave", "Beard Oil", "Wax"),
        ("Cedar", "Menthol", "Bay Rum", "Leather", "Lime", "Tobacco"),
        "Scent",
    ),
)
_BRANDS = (
    "Velora", "Nimbus & Fern", "Aurelle", "Okapi Botanics", "Lumière d'Or",
    "Saltmarsh", "Brightwick", "Casa Añil", "Thistledown", "Polar Orchard",
    "Mirabelle's", "Quince Lab", "Harrow & Vale", "Sundrift", "Kestrel", "Ondine",
)  # fmt: skip
_BRANDS_PER_DEPARTMENT = 8
_VARIETIES = _TYPES = 6
_SIZES = ("2 oz", "4 oz", "8 oz", "12 oz", "Travel Size", "Value Pack")
# Spread of log popularity over lines, and over the items of a line.
_LINE_SPREAD, _ITEM_SPREAD = 0.6, 0.4


@dataclass(frozen=True)
class Item:
    """An item in words; ``series`` distinguishes lines that are otherwise equal."""

    department: Department
    brand: str
    variety: str
    type: str
    series: int

    @property
    def name(self) -> str:
        """``"<brand> <variety> <type>"``."""
        series = f" No. {self.series}" if self.series > 1 else ""
        return f"{self.brand} {self.variety} {self.type}{series}"


@dataclass(frozen=True)
class Catalogue:
    """The ``N`` items, line after line, in the order of the routine within a line.

    Attributes:
        line: int64 ``[N]``, the item's line.
        variety: int64 ``[lines]``, equal for lines of one department and variety.
        brand: int64 ``[lines]``, equal for lines of one department and brand.
        popularity: float64 ``[N]``, relative.
        asins: the item ids, in random order.
        items: the items in words.
    """

    line: NDArray[np.int64]
    variety: NDArray[np.int64]
    brand: NDArray[np.int64]
    popularity: NDArray[np.float64]
    asins: list[str]
    items: list[Item]


def draw_catalogue(n_items: int, rng: np.random.Generator) -> Catalogue:
    """Draw ``n_items`` items; only the last line may be incomplete."""
    n_lines = -(-n_items // _TYPES)
    # Departments take turns. In each, pairs of brand and variety come in random order,
    # and the next series begins after the last pair.
    turn, department = np.divmod(np.arange(n_lines), len(_DEPARTMENTS))
    n_pairs = _BRANDS_PER_DEPARTMENT * _VARIETIES
    series, place = np.divmod(turn, n_pairs)
    pairs = np.stack([rng.permutation(n_pairs) for _ in _DEPARTMENTS])
    maker, variety = np.divmod(pairs[department, place], _VARIETIES)
    makers = np.stack([rng.permutation(len(_BRANDS)) for _ in _DEPARTMENTS])
    brand = makers[department, maker]
    line, slot = np.divmod(np.arange(n_items), _TYPES)
    log_popularity = _LINE_SPREAD * rng.standard_normal(n_lines)[line]
    log_popularity += _ITEM_SPREAD * rng.standard_normal(n_items)
    items = []
    for of_line, of_type in zip(line.tolist(), slot.tolist(), strict=True):
        its = _DEPARTMENTS[department[of_line]]
        items.append(
            Item(
                its,
                _BRANDS[brand[of_line]],
                its.varieties[variety[of_line]],
                its.types[of_type],
                series[of_line] + 1,
            )
        )
    return Catalogue(
        line=line,
        variety=department * _VARIETIES + variety,
        brand=department * len(_BRANDS) + brand,
        popularity=np.exp(log_popularity),
        asins=random_ids("B0SYN", 5, n_items, rng),
        items=items,
    )


def metadata_lines(catalogue: Catalogue, rng: np.random.Generator) -> list[str]:
    """Write the items as Python literals, sorted by id.

    As in the genuine file, some prices, brands and descriptions are missing, and values
    contain HTML and both kinds of quotes.
    """
    n_items = len(catalogue.items)
    sizes = rng.choice(_SIZES, size=n_items).tolist()
    prices = np.round(rng.lognormal(2.4, 0.5, n_items), 2).tolist()
    ranks = (np.argsort(np.argsort(-catalogue.popularity)) + 1).tolist()
    present = rng.random((n_items, 3)) < np.array([0.9, 0.9, 0.85])
    lines = []
    for place in np.argsort(catalogue.asins).tolist():
        item = catalogue.items[place]
        has_description, has_price, has_brand = present[place]
        metadata: dict[str, object] = {"asin": catalogue.asins[place]}
        if has_description:
            metadata["description"] = (
                f"{item.type} by {item.brand.replace('&', '&amp;')}. "
                f"{item.department.aspect}: {item.variety}.<br /> Goes well with the "
                f"other {item.variety} products of the brand. A made-up product of a "
                "synthetic shop."
            )
        metadata["title"] = f"{item.name}, {sizes[place]}"
        if has_price:
            metadata["price"] = prices[place]
        metadata["salesRank"] = {"Beauty": ranks[place]}
        if has_brand:
            metadata["brand"] = item.brand
        metadata["categories"] = [[*item.department.path, item.type]]
        lines.append(repr(metadata))
    return lines


def random_ids(prefix: str, digits: int, n: int, rng: np.random.Generator) -> list[str]:
    """Draw ``n`` distinct ids: the prefix, then random base-36 digits."""
    numbers = rng.choice(36**digits, size=n, replace=False)
    alphabet = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    letters = alphabet[numbers[:, None] // 36 ** np.arange(digits) % 36]
    return [prefix + "".join(row) for row in letters.tolist()]


@dataclass(frozen=True)
class SampleShop:
    """Lines of the two raw files, without line ends."""

    review_lines: list[str]
    metadata_lines: list[str]


def generate(parameters: SampleDataParameters) -> SampleShop:
    """Draw the shop: reviews as strict JSON, metadata as Python literals.

    Equal parameters give equal lines, byte for byte.
    """
    rng = np.random.default_rng(parameters.seed)
    catalogue = draw_catalogue(parameters.items, rng)
    purchases = _draw_purchases(catalogue, parameters.users, rng)
    reviews = _review_lines(catalogue, purchases, rng)
    return SampleShop(reviews, metadata_lines(catalogue, rng))


class _Pools:
    """Pools of items, drawn by popularity; ``keys`` is the pool of each item."""

    def __init__(
        self, keys: NDArray[np.int64], popularity: NDArray[np.float64]
    ) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._starts = np.searchsorted(keys[self._order], np.arange(keys.max() + 2))
        self._cumulative = np.concatenate([[0.0], np.cumsum(popularity[self._order])])

    def draw(
        self, pools: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw one item from each pool; no pool may be empty."""
        first, after = self._starts[pools], self._starts[pools + 1]
        low, high = self._cumulative[first], self._cumulative[after]
        point = low + (high - low) * rng.random(pools.size)
        place = np.searchsorted(self._cumulative, point, side="right") - 1
        return self._order[np.clip(place, first, after - 1)]


class _Shoppers:
    """Favourite lines and choices of all shoppers, step by step."""

    def __init__(self, catalogue: Catalogue, n: int, rng: np.random.Generator) -> None:
        line, popularity = catalogue.line, catalogue.popularity
        self._catalogue, self._rng = catalogue, rng
        self._all = _Pools(np.zeros_like(line), popularity)
        self._of_variety = _Pools(catalogue.variety[line], popularity)
        self._of_brand = _Pools(catalogue.brand[line], popularity)
        self._favourites = np.stack([self._any_line(n), self._any_line(n)], axis=1)

    def drift(self) -> None:
        """Replace a favourite line of some shoppers."""
        turned = np.flatnonzero(self._rng.random(len(self._favourites)) < _P_DRIFT)
        which = self._rng.integers(2, size=turned.size)
        self._favourites[turned, which] = self._any_line(turned.size)

    def by_taste(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw an item of the variety or the brand of a favourite, for each user."""
        line = self._favourites[users, self._rng.integers(2, size=users.size)]
        of_variety = self._of_variety.draw(self._catalogue.variety[line], self._rng)
        of_brand = self._of_brand.draw(self._catalogue.brand[line], self._rng)
        return np.where(self._rng.integers(2, size=users.size), of_variety, of_brand)

    def choose(
        self, users: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Propose the next item of each user after the ``last`` one."""
        mood = self._rng.random(users.size)
        # The complement later in the line; the last line may end before it.
        step = self._rng.choice(_STEPS, size=last.size, p=_STEP_SHARES)
        complement = last - last % _TYPES + (last + step) % _TYPES
        there = complement < self._catalogue.line.size
        anything = self._all.draw(np.zeros_like(users), self._rng)
        by_taste = self.by_taste(users)
        routine, taste = (mood < _P_ROUTINE) & there, mood < _P_ROUTINE + _P_TASTE
        return np.select([routine, taste], [complement, by_taste], anything)

    def _any_line(self, n: int) -> NDArray[np.int64]:
        items = self._all.draw(np.zeros(n, dtype=np.int64), self._rng)
        return self._catalogue.line[items]


def _draw_purchases(
    catalogue: Catalogue, n_users: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw an item per user and step, -1 for none: int64 ``[users, _LONGEST]``."""
    extra = rng.geometric(1.0 / (_MEAN_LENGTH - _SHORTEST + 1.0), n_users) - 1
    lengths = np.minimum(_SHORTEST + extra, _LONGEST)
    shoppers = _Shoppers(catalogue, n_users, rng)
    bought = np.full((n_users, _LONGEST), -1)
    bought[:, 0] = shoppers.by_taste(np.arange(n_users))
    last = bought[:, 0].copy()
    for step in range(1, _LONGEST):
        shoppers.drift()
        waiting = np.flatnonzero(lengths > step)
        # Users buy no item twice: a repeated proposal is redrawn, and the step is left
        # out after some proposals.
        for _ in range(_PROPOSALS):
            proposed = shoppers.choose(waiting, last[waiting])
            new = (bought[waiting] != proposed[:, None]).all(axis=1)
            bought[waiting[new], step] = proposed[new]
            last[waiting[new]] = proposed[new]
            waiting = waiting[~new]
    return bought


def _draw_days(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw days since the first one, ascending: int64 ``[users, steps]``."""
    gaps = rng.geometric(1.0 / _MEAN_GAP_DAYS, shape)
    gaps[rng.random(shape) < _P_SAME_DAY] = 0
    gaps[:, 0] = rng.integers(365, size=shape[0])
    return np.cumsum(gaps, axis=1)


def _review_lines(
    catalogue: Catalogue, purchases: NDArray[np.int64], rng: np.random.Generator
) -> list[str]:
    """Write the purchases as reviews, grouped by item as in the genuine file."""
    days = _draw_days((len(purchases), _LONGEST), rng)
    dates = [_FIRST_DAY + timedelta(days=day) for day in range(int(days.max()) + 1)]
    shoppers = random_ids("ASYN", 10, len(purchases), rng)
    users, steps = np.nonzero(purchases >= 0)
    items = purchases[users, steps]
    place = np.argsort(np.argsort(catalogue.asins))
    order = np.lexsort((users, place[items]))
    ratings = rng.choice([1, 2, 3, 4, 5], size=items.size, p=_RATING_SHARES)
    helpful = rng.integers(4, size=items.size)
    lines = []
    for row, rating, votes in zip(
        order.tolist(), ratings.tolist(), helpful.tolist(), strict=True
    ):
        user, item = int(users[row]), int(items[row])
        date = dates[days[user, steps[row]]]
        review = {
            "reviewerID": shoppers[user],
            "asin": catalogue.asins[item],
            "reviewerName": f"Synthetic Shopper {user + 1}",
            "helpful": [votes, 3],
            "reviewText": f"A made-up review of the {catalogue.items[item].name}.",
            "overall": float(rating),
            "summary": f"Synthetic review: {rating} of 5 stars",
            "unixReviewTime": int(date.timestamp()),
            "reviewTime": f"{date.month:02d} {date.day}, {date.year}",
        }
        lines.append(json.dumps(review))
    return lines
