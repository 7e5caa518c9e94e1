"""Decoding: users per second of sidiff's searches and of Cornac's, with equal weights.

Both count encoding of the histories and ranking of SIDs, sidiff also ranking of items.
Both decode in batches of their default size. The SIDs found are compared first: without
merging both searches are the same. ``default`` is the method of ``kedro run
--env=beauty``: the energy of the posterior over items with transitions;
``default_network`` is without transitions. Weights are random unless ``--denoiser`` is
given, so the share of equal states in a beam differs from a trained network's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import flops, inputs, peer
from benchmarks.common import (
    Contestant,
    Row,
    hardware,
    medians,
    paired,
    parser,
    positive,
    publish,
    speedup,
    timed,
)
from benchmarks.inputs import MAX_HISTORY, Shop
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.search import Search
from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.histories import Histories
from sidiff.diffusion.networks import Network
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.markov import Chain
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.ranker import Ranker
from sidiff.ranking.results import Cost
from sidiff.ranking.searched import SearchRanker
from sidiff.ranking.settings import RankingParameters
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import evaluation_samples, training_counts
from sidiff.reviews.transitions import transition_counts

TOP = 10

Sids = list[list[tuple[int, ...]]]
"""The best SIDs of every user."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("decoding", __doc__)
    inputs.add_shop(options, users=64)
    inputs.add_network(options)
    options.add_argument(
        "--denoiser", type=Path, help="stored network (safetensors); with --sid-table"
    )
    options.add_argument(
        "--beam", type=positive, default=32, help="of the narrow searches"
    )
    options.add_argument(
        "--wide", type=positive, default=256, help="beam of the paper's test on Beauty"
    )
    options.add_argument(
        "--users-per-batch", type=positive, default=256, help="of ours; see conf"
    )
    options.add_argument(
        "--peer-batch", type=positive, default=32, help="of Cornac's; its own default"
    )
    options.add_argument(
        "--compared", type=positive, default=16, help="users whose lists are compared"
    )
    options.add_argument(
        "--beams", type=positive, nargs="*", default=[8, 32, 128], help="also tried"
    )
    options.add_argument(
        "--catalogues", type=positive, nargs="*", default=[100_000], help="also tried"
    )
    options.add_argument(
        "--digit-counts", type=positive, nargs="*", default=[8], help="also tried"
    )
    settings = options.parse_args(arguments)
    if settings.denoiser and not settings.sid_table:
        options.error("--denoiser needs the --sid-table that it was trained on")
    torch.set_num_threads(settings.threads)
    machine = hardware()
    shop = inputs.load_shop(settings, options)
    if settings.denoiser:
        denoiser = inputs.stored_denoiser(settings.denoiser)
    else:
        denoiser = inputs.random_denoiser(settings, shop.table)
    ours = Ours(shop, denoiser, settings.users_per_batch)
    searches = _searches(settings)
    ranked = {name: (ours, search) for name, search in searches.items()}
    ranked |= _defaults(settings, shop)
    contestants: dict[str, Contestant] = {
        name: partial(network.seconds, search)
        for name, (network, search) in ranked.items()
    }
    figures: dict[str, Any] = {"users": len(ours.samples)}
    if peer.available():
        network = peer.network(denoiser, shop.table.codes)
        theirs = Theirs(shop, network, settings.peer_batch)
        figures["agreement"] = agreement(ours, theirs, searches, settings)
        for name, beam, constrained in _peer_searches(settings):
            search = partial(theirs.search, theirs.samples, beam, constrained, True)
            contestants[name] = timed(search)
    users = len(ours.samples)
    work = {name: flops.count(search) / users for name, search in contestants.items()}
    seconds = paired(contestants, settings.rounds)
    figures["speedup_vs_cornac"] = {
        name: speedup(seconds, name, rival)
        for name, rival in _rivals(settings)
        if rival in seconds
    }
    rows = []
    for name, middle in medians(seconds).items():
        row: Row = {
            "search": name,
            "users_per_second": users / middle,
            "gflop_per_user": work[name] / 1e9,
            "gflops": users * work[name] / middle / 1e9,
        }
        if name in ranked:
            network, used = ranked[name]
            row |= _shares(network.costs[used])
        rows.append(row)
    figures["decoding"] = rows
    figures["growth"] = growth(settings, shop, denoiser)
    publish(settings, machine, figures)


def _searches(settings: Any) -> dict[str, RankingParameters]:
    """Ours by name; the first two do as the paper, and as Cornac."""
    plain = {
        "merge": "none",
        "constraint": "none",
    }
    wide, narrow = {"beam": settings.wide}, {"beam": settings.beam}
    merged, items = {"merge": "max"}, {"constraint": "items"}
    changes: dict[str, dict[str, Any]] = {
        "cpd_wide": wide,
        "cpd": narrow,
        "cpd_merged": narrow | merged,
        "cpd_constrained": narrow | items,
        "cpd_constrained_merged": narrow | items | merged,
        "two_stage_constrained_merged": {"method": "two_stage"}
        | narrow
        | items
        | merged,
        "one_pass": {"method": "one_pass"} | narrow,
    }
    return {
        name: inputs.ranking_parameters(**plain | change)
        for name, change in changes.items()
    }


def _defaults(settings: Any, shop: Shop) -> dict[str, tuple[Ours, RankingParameters]]:
    """What evaluation does by default, and its network's share of it."""
    network = inputs.random_joint_denoiser(settings, shop.table)
    ours = Ours(shop, network, settings.users_per_batch)
    ranking = inputs.default_evaluation().ranking
    alone = ranking.model_copy(update={"method": "items"})
    return {"default": (ours, ranking), "default_network": (ours, alone)}


def _peer_searches(settings: Any) -> Iterator[tuple[str, int, bool]]:
    """Cornac's: name, beam, whether the catalogue constrains every step."""
    yield "cornac_wide", settings.wide, False
    yield "cornac", settings.beam, False
    yield "cornac_catalog", settings.beam, True


def _rivals(settings: Any) -> Iterator[tuple[str, str]]:
    """Which of ours is compared with which of Cornac's."""
    for name in [*_searches(settings), "default", "default_network"]:
        if name == "cpd_wide" or name.startswith("default"):
            yield name, "cornac_wide"
        elif "constrained" in name:
            yield name, "cornac_catalog"
        else:
            yield name, "cornac"


class Ours:
    """Our network over one shop, as evaluation uses it.

    Attributes:
        samples: the test users' ``(U, 3)``: user, start, end.
        costs: what the last run of each search took.
    """

    def __init__(self, shop: Shop, denoiser: Network, users_per_batch: int) -> None:
        self.denoiser = denoiser
        self.samples = evaluation_samples(shop.sequences, "test", MAX_HISTORY)
        cpu = torch.device("cpu")
        residuals = np.arange(1, len(shop.table.codes) + 1)
        evaluation = inputs.default_evaluation()
        ranking = RankingInputs.build(
            shop.table,
            training_counts(shop.sequences),
            cpu,
            residuals,
            chain=Chain.of(transition_counts(shop.sequences), evaluation.markov, cpu),
        )
        self.histories = Histories(shop.sequences, ranking.items)
        self.catalogue = ranking.catalogue
        self.users = Users(
            shop.sequences, ranking.items, self.samples, TOP, False, users_per_batch
        )
        self.transitions = ranking.transitions(evaluation.transitions)
        _ = self.catalogue.continuations  # once for all users: stored by Kedro
        self.costs: dict[RankingParameters, Cost] = {}

    def seconds(self, search: RankingParameters) -> float:
        """Rank items for all users."""
        began = time.perf_counter()
        results = rank_users(self._ranker(search), self.users, None)
        self.costs[search] = results.cost
        return time.perf_counter() - began

    def _ranker(self, search: RankingParameters) -> Ranker:
        return method_ranker(
            search_model(self.denoiser, self.histories.table),
            search,
            self.catalogue,
            self.transitions,
        )

    @torch.inference_mode()
    def best_sids(self, samples: NDArray[np.int32], search: RankingParameters) -> Sids:
        """The best distinct SIDs of some users, with or without an item."""
        batch = self.histories.gather(torch.from_numpy(samples))
        ranker = self._ranker(search)
        if not isinstance(ranker, SearchRanker):
            raise TypeError(f"{search.method} is no search")
        decoded = DECODERS[search.method](
            Search(
                ranker.denoiser,
                ranker.encode(batch),
                search,
                self.catalogue,
                batch.history_items[:, :0],
            )
        )
        found: Sids = []
        for codes, scores in zip(decoded.codes, decoded.scores, strict=True):
            live = codes[scores > -torch.inf].tolist()
            found.append(list(dict.fromkeys(tuple(sid) for sid in live))[:TOP])
        return found


class Theirs:
    """Cornac's network over the same shop, as its validation uses it.

    Attributes:
        samples: the test users' ``(U, 3)``.
    """

    def __init__(self, shop: Shop, network: Any, batch: int) -> None:
        self.shop = shop
        self.batch = batch
        self.codes = shop.table.codes.astype(np.int64)
        self.sids = {tuple(codes): row for row, codes in enumerate(self.codes.tolist())}
        self.network = network
        self.samples = evaluation_samples(shop.sequences, "test", MAX_HISTORY)

    def search(
        self, samples: NDArray[np.int32], beam: int, constrained: bool, existing: bool
    ) -> Sids:
        """Its ranked SIDs; ``existing`` drops those without an item."""
        from cornac.models.diffgrm.diffgrm import cpd_decode_batch  # noqa: PLC0415

        found: Sids = []
        for start in range(0, len(samples), self.batch):
            histories = peer.histories(
                self.shop.sequences,
                samples[start : start + self.batch],
                len(self.codes),
            )
            with torch.no_grad():
                memory, pads = self.network.encode_history(*histories)
                ranked, _ = cpd_decode_batch(
                    self.network,
                    memory,
                    pads,
                    beam,
                    catalog_codes=self.codes if constrained else None,
                    valid_code_set=self.sids if existing else None,
                    constrained=constrained,
                )
            found += [[tuple(sid) for sid in sids[:TOP]] for sids in ranked]
        return found


def agreement(
    ours: Ours, theirs: Theirs, searches: dict[str, RankingParameters], settings: Any
) -> Row:
    """Share of users for whom both find the same ten SIDs in the same order.

    Of the wide search these are the best complete SIDs whether or not they have an
    item: hardly any that a random network prefers has one.
    """
    users = min(settings.compared, len(ours.samples))
    samples = theirs.samples[:users]
    pairs = {
        "cpd_wide": theirs.search(samples, settings.wide, False, False),
        "cpd_constrained": theirs.search(samples, settings.beam, True, True),
    }
    shares: Row = {}
    for name, expected in pairs.items():
        found = ours.best_sids(ours.samples[:users], searches[name])
        same = [mine == other for mine, other in zip(found, expected, strict=True)]
        overlap = [
            len(set(mine) & set(other)) / max(1, len(other))
            for mine, other in zip(found, expected, strict=True)
        ]
        shares[f"{name}"] = float(np.mean(same))
        shares[f"{name}_shared_sids"] = float(np.mean(overlap))
    return shares


def growth(settings: Any, shop: Shop, denoiser: Denoiser) -> list[Row]:
    """Our constrained, merged search at other beams, catalogues, numbers of digits."""
    search = _searches(settings)["cpd_constrained_merged"]
    per_batch = settings.users_per_batch

    def other(items: int, digits: int) -> Ours:
        drawn = inputs.synthetic_shop(
            settings.users, items, digits, settings.codes, settings.seed
        )
        network = inputs.random_denoiser(settings, drawn.table)
        return Ours(drawn, network, per_batch)

    def measured(ours: Ours, beam: int) -> Row:
        one = search.model_copy(update={"beam": beam})
        contestant = {"ours": partial(ours.seconds, one)}
        seconds = medians(paired(contestant, settings.rounds))["ours"]
        items, digits = ours.catalogue.codes.shape
        shape = {"items": items, "digits": digits, "beam": beam}
        rate = {"users_per_second": len(ours.samples) / seconds}
        return shape | rate | _shares(ours.costs[one])

    same = Ours(shop, denoiser, per_batch)
    rows = [measured(same, beam) for beam in settings.beams]
    rows += [
        measured(other(items, settings.digits), settings.beam)
        for items in settings.catalogues
    ]
    rows += [
        measured(other(settings.items, digits), settings.beam)
        for digits in settings.digit_counts
    ]
    return rows


def _shares(cost: Cost) -> Row:
    return {
        "denoiser_calls": cost.denoiser_calls,
        "distinct_states": cost.distinct_states,
        "valid_share": cost.valid_share,
    }


if __name__ == "__main__":
    main()
