"""The catalogue of the synthetic shop: made-up brands, lines and items.

A *line* is one brand and one variety (a scent, a skin type, ...) in a department; it
has one item per product type of the department, in the order of a routine. An item's
text says its brand, variety and type, so that what is alike also reads alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
TYPES_PER_LINE = 6
_SIZES = ("2 oz", "4 oz", "8 oz", "12 oz", "Travel Size", "Value Pack")
# Spread of log popularity over lines, and over the items of a line.
_LINE_SPREAD, _ITEM_SPREAD = 0.6, 0.4


@dataclass(frozen=True)
class Catalogue:
    """The ``N`` items, line after line, in the order of the routine within a line.

    Attributes:
        line: int64 ``[N]``, the item's line.
        slot: int64 ``[N]``, place of the item's type in the routine.
        department: int64 ``[lines]``.
        brand: int64 ``[lines]``.
        variety: int64 ``[lines]``.
        series: int64 ``[lines]``, from 1; tells lines apart that are alike otherwise.
        popularity: float64 ``[N]``, relative.
        asins: the item ids, whose order says nothing about the items.
    """

    line: NDArray[np.int64]
    slot: NDArray[np.int64]
    department: NDArray[np.int64]
    brand: NDArray[np.int64]
    variety: NDArray[np.int64]
    series: NDArray[np.int64]
    popularity: NDArray[np.float64]
    asins: list[str]

    def variety_keys(self) -> NDArray[np.int64]:
        """Equal for lines of one department and variety: int64 ``[lines]``."""
        return self.department * len(_BRANDS) + self.variety

    def brand_keys(self) -> NDArray[np.int64]:
        """Equal for lines of one department and brand: int64 ``[lines]``."""
        return self.department * len(_BRANDS) + self.brand

    def names(self) -> list[str]:
        """``"<brand> <variety> <type>"`` of each item."""
        names = []
        for item, line in enumerate(self.line.tolist()):
            series = f" No. {self.series[line]}" if self.series[line] > 1 else ""
            names.append(" ".join(self.words(item)) + series)
        return names

    def words(self, item: int) -> tuple[str, str, str]:
        """Brand, variety and type of an item."""
        line = self.line[item]
        department = _DEPARTMENTS[self.department[line]]
        variety = department.varieties[self.variety[line]]
        return _BRANDS[self.brand[line]], variety, department.types[self.slot[item]]


def draw_catalogue(n_items: int, rng: np.random.Generator) -> Catalogue:
    """Draw ``n_items`` items; all lines are complete but, perhaps, the last."""
    n_lines = -(-n_items // TYPES_PER_LINE)
    # Departments take turns; within one, (brand, variety) pairs come in random order,
    # and when they are used up the next series begins.
    turn, department = np.divmod(np.arange(n_lines), len(_DEPARTMENTS))
    n_varieties = len(_DEPARTMENTS[0].varieties)
    n_pairs = _BRANDS_PER_DEPARTMENT * n_varieties
    series, place = np.divmod(turn, n_pairs)
    pairs = np.stack([rng.permutation(n_pairs) for _ in _DEPARTMENTS])
    maker, variety = np.divmod(pairs[department, place], n_varieties)
    makers = np.stack([rng.permutation(len(_BRANDS)) for _ in _DEPARTMENTS])
    line, slot = np.divmod(np.arange(n_items), TYPES_PER_LINE)
    log_popularity = _LINE_SPREAD * rng.standard_normal(n_lines)[line]
    log_popularity += _ITEM_SPREAD * rng.standard_normal(n_items)
    return Catalogue(
        line=line,
        slot=slot,
        department=department,
        brand=makers[department, maker],
        variety=variety,
        series=series + 1,
        popularity=np.exp(log_popularity),
        asins=random_ids("B0SYN", 5, n_items, rng),
    )


def metadata_lines(catalogue: Catalogue, rng: np.random.Generator) -> list[str]:
    """Write the items as Python literals, sorted by id.

    As in the genuine file, price, brand or description is missing here and there, and
    values hold HTML and both kinds of quotes.
    """
    names = catalogue.names()
    sizes = rng.choice(_SIZES, size=len(names)).tolist()
    prices = np.round(rng.lognormal(2.4, 0.5, len(names)), 2).tolist()
    ranks = (np.argsort(np.argsort(-catalogue.popularity)) + 1).tolist()
    present = rng.random((len(names), 3)) < np.array([0.9, 0.9, 0.85])
    lines = []
    for item in np.argsort(catalogue.asins).tolist():
        department = _DEPARTMENTS[catalogue.department[catalogue.line[item]]]
        brand, variety, kind = catalogue.words(item)
        has_description, has_price, has_brand = present[item]
        metadata: dict[str, object] = {"asin": catalogue.asins[item]}
        if has_description:
            metadata["description"] = (
                f"{kind} by {brand.replace('&', '&amp;')}. {department.aspect}: "
                f"{variety}.<br /> Goes well with the other {variety} products of the "
                "brand. A made-up product of a synthetic shop."
            )
        metadata["title"] = f"{names[item]}, {sizes[item]}"
        if has_price:
            metadata["price"] = prices[item]
        metadata["salesRank"] = {"Beauty": ranks[item]}
        if has_brand:
            metadata["brand"] = brand
        metadata["categories"] = [[*department.path, kind]]
        lines.append(repr(metadata))
    return lines


def random_ids(prefix: str, digits: int, n: int, rng: np.random.Generator) -> list[str]:
    """Draw ``n`` distinct ids: the prefix, then random base-36 digits."""
    numbers = rng.choice(36**digits, size=n, replace=False)
    alphabet = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    letters = alphabet[numbers[:, None] // 36 ** np.arange(digits) % 36]
    return [prefix + "".join(row) for row in letters.tolist()]
