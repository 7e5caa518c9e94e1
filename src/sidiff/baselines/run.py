"""The baselines stage: models trained per seed, every method ranked on test users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.baselines.autoregressive import AutoregressiveDecoder
from sidiff.baselines.autoregressive_training import fit_autoregressive
from sidiff.baselines.prefix_search import AutoregressiveRanker, Prefixes
from sidiff.baselines.sasrec import SasRec, fit_sasrec
from sidiff.baselines.settings import BaselinesParameters, SasRecSettings
from sidiff.decoding.catalogue import Catalogue
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.histories import Histories
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.fingerprints import short
from sidiff.ranking.items import ItemRanker, Popularity
from sidiff.ranking.markov import Chain
from sidiff.ranking.ranker import Ranker
from sidiff.ranking.results import Results
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import Trained


@dataclass(frozen=True)
class Fitted:
    """One kind of model, trained with every seed.

    Attributes:
        weights: of all seeds, names begin with ``SEED/``; on the CPU.
        config: its shape, the ``seeds``, and how each run went.
        tried: settings tried on the validation split, with their scores.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    tried: list[dict[str, Any]] = field(default_factory=list)

    def of_seed(self, seed: int) -> dict[str, Tensor]:
        """The weights of one seed."""
        prefix = f"{seed}/"
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.weights.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True)
class Ranked:
    """What one method ranked with one seed."""

    method: str
    seed: int
    results: Results


def tune_sasrec(
    sequences: Sequences,
    parameters: BaselinesParameters,
    max_history: int,
    seeds: list[int],
    checkpoints: SnapshotFolder | None = None,
) -> Fitted:
    """Try every candidate with the first seed, train the best one with all seeds.

    The candidate with the highest validation NDCG@10 at item level wins; the test
    split is not looked at. ``checkpoints`` are as in ``sidiff.training.loop.fit``.
    """
    device, candidates = resolve(parameters.device), parameters.sasrec.candidates()

    def fit(settings: SasRecSettings, seed: int, which: str) -> tuple[SasRec, Trained]:
        return fit_sasrec(
            sequences,
            settings,
            max_history,
            parameters.users_per_batch,
            seed,
            device,
            f"SASRec, {which}",
            checkpoints,
        )

    with cpu_threads(parameters.threads):
        found = [
            fit(settings, seeds[0], f"setting {number} of {len(candidates)}")
            for number, settings in enumerate(candidates, 1)
        ]
        best = max(range(len(found)), key=lambda number: found[number][1].score)
        networks = [found[best]] + [
            fit(candidates[best], seed, f"seed {number} of {len(seeds)}")
            for number, seed in enumerate(seeds[1:], 2)
        ]
    tried = [
        {
            "method": "sasrec",
            "seed": seeds[0],
            "validation_ndcg_at_10": trained.score,
            "epoch": trained.epoch,
            "epochs_run": trained.epochs_run,
            "settings": settings.model_dump(),
        }
        for settings, (_, trained) in zip(candidates, found, strict=True)
    ]
    return _of_seeds(networks, seeds, {"sequences": sequences.fingerprint}, tried)


def fit_decoders(
    sequences: Sequences,
    samples: NDArray[np.int32],
    table: SidTable,
    parameters: BaselinesParameters,
    training: TrainingParameters,
    max_history: int,
    seeds: list[int],
    checkpoints: SnapshotFolder | None = None,
) -> Fitted:
    """Train the autoregressive decoder with every seed; arguments as its own."""
    device = resolve(parameters.device)
    with cpu_threads(parameters.threads):
        networks = [
            fit_autoregressive(
                sequences,
                samples,
                table,
                parameters.autoregressive,
                training,
                max_history,
                seed,
                device,
                f"Autoregressive, seed {number} of {len(seeds)}",
                checkpoints,
            )
            for number, seed in enumerate(seeds, 1)
        ]
    made_of = {"sequences": sequences.fingerprint, "sid_table": table.fingerprint}
    return _of_seeds(networks, seeds, made_of, [])


def _of_seeds(
    networks: Sequence[tuple[SasRec | AutoregressiveDecoder, Trained]],
    seeds: list[int],
    made_of: dict[str, str],
    tried: list[dict[str, Any]],
) -> Fitted:
    """One kind of model, a network for every seed."""
    weights: dict[str, Tensor] = {}
    runs: list[dict[str, Any]] = []
    for seed, (_, trained) in zip(seeds, networks, strict=True):
        weights |= {f"{seed}/{name}": w for name, w in trained.weights.items()}
        score = {"validation_ndcg_at_10": trained.score, "epoch": trained.epoch}
        runs.append({"seed": seed} | score)
    shape = networks[0][0].saved_config()
    return Fitted(weights, shape | made_of | {"seeds": seeds, "runs": runs}, tried)


def rank_baselines(
    sequences: Sequences,
    table: SidTable,
    sasrec: Fitted | None,
    decoders: Fitted | None,
    parameters: BaselinesParameters,
    evaluation: EvaluationParameters,
    max_history: int,
    allowed: NDArray[np.bool_] | None = None,
) -> list[Ranked]:
    """Rank the whole catalogue for the test split by every method of the parameters.

    Args:
        sequences: all users' items.
        table: the items' SIDs.
        sasrec: trained with all seeds; None where it is not among the methods.
        decoders: as ``sasrec``, autoregressive.
        parameters: the methods and their settings.
        evaluation: the lists' length, seeds, the chain, and whether seen items are
            left out, as for the denoiser.
        max_history: most items of a history that a method is given.
        allowed: items that may be recommended ``(N,)``; None for all.

    Returns:
        One entry per method and seed, in the order of ``parameters.methods``; what
        only counts appears once, under the first seed.

    Raises:
        SidiffError: a method's model is missing or was trained for other items.
    """
    device = resolve(parameters.device)
    nobody = np.zeros(sequences.n_items, dtype=np.int64)
    users = Users(
        sequences,
        Histories(sequences, table.codes, nobody, device),
        evaluation_samples(sequences, "test", max_history),
        evaluation.top_k,
        evaluation.exclude_seen,
        parameters.users_per_batch,
    )
    methods = _Methods(
        sequences, table, parameters, evaluation, max_history, device, allowed
    )
    ranked = []
    with cpu_threads(parameters.threads):
        for method in parameters.methods:
            trained, seeds = None, evaluation.seeds[:1]
            if method not in ("popularity", "markov"):
                fitted = decoders if method == "autoregressive" else sasrec
                trained, seeds = methods.checked(fitted, method), evaluation.seeds
            for seed in seeds:
                ranker = methods.ranker(method, trained, seed)
                results = rank_users(ranker, users, f"ranking, {method}, seed {seed}")
                ranked.append(Ranked(method, seed, results))
    return ranked


class _Methods:
    """The rankers of all baselines over one catalogue."""

    def __init__(
        self,
        sequences: Sequences,
        table: SidTable,
        parameters: BaselinesParameters,
        evaluation: EvaluationParameters,
        max_history: int,
        device: torch.device,
        allowed: NDArray[np.bool_] | None,
    ) -> None:
        self.sequences, self.table = sequences, table
        self.parameters, self.seeds = parameters, evaluation.seeds
        self.max_history, self.device = max_history, device
        counts = training_counts(sequences)
        self.popularity = Popularity(torch.from_numpy(counts).to(device))
        self.catalogue = Catalogue.build(
            table.groups(), table.codes_per_digit, counts, device
        )
        if allowed is not None:
            self.catalogue = self.catalogue.restrict(
                torch.from_numpy(allowed).to(device)
            )
        self.chain = Chain.of(transition_counts(sequences), evaluation.markov, device)

    def ranker(self, method: str, trained: Fitted | None, seed: int) -> Ranker:
        """One method, with the network of one seed where it has one."""
        parameters, catalogue = self.parameters, self.catalogue
        if method == "popularity":
            return ItemRanker(self.popularity, catalogue)
        if method == "markov":
            share = parameters.markov.share
            return ItemRanker(self.popularity, catalogue, self.chain, share)
        assert trained is not None  # noqa: S101 (the others are checked)
        weights = trained.of_seed(seed)
        if method == "autoregressive":
            decoder = AutoregressiveDecoder.from_saved(weights, trained.config)
            return AutoregressiveRanker(
                cast(AutoregressiveDecoder, decoder.to(self.device)),
                Prefixes.of(self.table, self.device),
                catalogue,
                parameters.autoregressive.beam,
            )
        network = SasRec.from_saved(weights, trained.config).to(self.device)
        share = parameters.sasrec_markov.share if method == "sasrec_markov" else 0.0
        return ItemRanker(network, catalogue, self.chain, share)

    def checked(self, fitted: Fitted | None, method: str) -> Fitted:
        """The networks of a method, if they are those of these data."""
        seeds = self.seeds
        trained = fitted.config.get("seeds", []) if fitted else []
        if fitted is None or not set(seeds) <= set(trained):
            raise SidiffError(
                f"{method} is among baselines.methods but was trained with the seeds "
                f"{trained}, not {seeds}; run kedro run --pipeline=baselines as a "
                "whole."
            )
        again = "run kedro run --pipeline=baselines again, or"
        name = "SASRec" if method.startswith("sasrec") else "autoregressive decoder"
        data = {"sequences": ("sequences", self.sequences.fingerprint)}
        if method == "autoregressive":
            data = {"sid_table": ("SID table", self.table.fingerprint)} | data
        for key, (what, now) in data.items():
            known = fitted.config.get(key)
            if known != now:
                raise SidiffError(
                    f"The stored {name} was trained on {what} {short(known)}, stored "
                    f"now is {short(now)}; {again} choose matching --load-versions."
                )
        longest = fitted.config.get("max_history")
        if longest != self.max_history:
            raise SidiffError(
                f"The stored {name} reads histories of at most {longest} items, "
                f"filtering.max_history is {self.max_history}; {again} give the value "
                "it was trained with."
            )
        return fitted
