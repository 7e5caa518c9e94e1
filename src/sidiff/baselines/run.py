"""The baselines stage: models trained per seed, every method ranked on test users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.baselines.autoregressive import (
    AutoregressiveDecoder,
    Prefixes,
    beam_search,
    fit_autoregressive,
)
from sidiff.baselines.counts import Markov
from sidiff.baselines.ranking import Lists, RankBatch, SidItems, rank_users
from sidiff.baselines.sasrec import SasRec, fit_sasrec
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.histories import HistoryBatch
from sidiff.errors import SidiffError
from sidiff.evaluation.results import Results
from sidiff.fingerprints import short
from sidiff.parameters import BaselinesParameters, TrainingParameters
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder


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
    device = resolve(parameters.device)
    weights: dict[str, Tensor] = {}
    runs: list[dict[str, Any]] = []
    tried: list[dict[str, Any]] = []
    best = -1.0
    candidates = parameters.sasrec.candidates()
    config: dict[str, Any] = {}
    with cpu_threads(parameters.threads):
        for number, settings in enumerate(candidates, 1):
            model, trained = fit_sasrec(
                sequences,
                settings,
                max_history,
                parameters.users_per_batch,
                seeds[0],
                device,
                f"SASRec, setting {number} of {len(candidates)}",
                checkpoints,
            )
            tried.append(
                {
                    "method": "sasrec",
                    "seed": seeds[0],
                    "validation_ndcg_at_10": trained.score,
                    "epoch": trained.epoch,
                    "epochs_run": trained.epochs_run,
                    "settings": settings.model_dump(),
                }
            )
            if trained.score > best:
                best, chosen = trained.score, settings
                weights = _named(seeds[0], trained.weights)
                config = model.saved_config()
                runs = [_run(seeds[0], trained.score, trained.epoch)]
        for number, seed in enumerate(seeds[1:], 2):
            _, trained = fit_sasrec(
                sequences,
                chosen,
                max_history,
                parameters.users_per_batch,
                seed,
                device,
                f"SASRec, seed {number} of {len(seeds)}",
                checkpoints,
            )
            weights |= _named(seed, trained.weights)
            runs.append(_run(seed, trained.score, trained.epoch))
    config |= {"seeds": seeds, "runs": runs, "sequences": sequences.fingerprint}
    return Fitted(weights, config, tried)


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
    weights: dict[str, Tensor] = {}
    runs: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    with cpu_threads(parameters.threads):
        for number, seed in enumerate(seeds, 1):
            model, trained = fit_autoregressive(
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
            weights |= _named(seed, trained.weights)
            config = model.saved_config() | {"sid_table": table.fingerprint}
            runs.append(_run(seed, trained.score, trained.epoch))
    config |= {"seeds": seeds, "runs": runs, "sequences": sequences.fingerprint}
    return Fitted(weights, config)


def rank_baselines(
    sequences: Sequences,
    table: SidTable,
    sasrec: Fitted | None,
    decoders: Fitted | None,
    parameters: BaselinesParameters,
    max_history: int,
    k: int,
    *,
    exclude_seen: bool,
    seeds: list[int],
    allowed: NDArray[np.bool_] | None = None,
) -> list[Ranked]:
    """Rank the whole catalogue for the test split by every method of the parameters.

    Args:
        sequences: all users' items.
        table: the items' SIDs.
        sasrec: trained with all ``seeds``; None where it is not among the methods.
        decoders: as ``sasrec``, autoregressive.
        parameters: the methods and their settings.
        max_history: most items of a history that a method is given.
        k: places of each list.
        exclude_seen: whether what a user had before is left out, for all alike.
        allowed: items that may be recommended ``(N,)``; None for all.
        seeds: of the trained methods. What only counts appears once, under the first.

    Returns:
        One entry per method and seed, in the order of ``parameters.methods``.

    Raises:
        SidiffError: a method's model is missing or was trained for other items.
    """
    with cpu_threads(parameters.threads):
        stage = _Stage(
            sequences, table, parameters, max_history, k, exclude_seen, allowed
        )
        ranked = []
        for method in parameters.methods:
            if method == "popularity":
                ranked.append(Ranked(method, seeds[0], stage.popularity()))
            elif method == "markov":
                ranked.append(Ranked(method, seeds[0], stage.markov()))
            elif method in ("sasrec", "sasrec_markov"):
                fitted = _present(sasrec, method, seeds)
                chain = stage.chain if method == "sasrec_markov" else None
                ranked += [
                    Ranked(method, s, stage.sasrec(fitted, s, chain)) for s in seeds
                ]
            else:
                fitted = _present(decoders, method, seeds)
                ranked += [
                    Ranked(method, s, stage.autoregressive(fitted, s)) for s in seeds
                ]
    return ranked


class _Stage:
    """What all methods share: users, items, SIDs and the form of a list."""

    def __init__(
        self,
        sequences: Sequences,
        table: SidTable,
        parameters: BaselinesParameters,
        max_history: int,
        k: int,
        exclude_seen: bool,
        allowed: NDArray[np.bool_] | None,
    ) -> None:
        self.allowed = allowed
        self.sequences = sequences
        self.table = table
        self.parameters = parameters
        self.device = resolve(parameters.device)
        self.samples = evaluation_samples(sequences, "test", max_history)
        self.max_history = max_history
        self.counts = training_counts(sequences)
        self.sid_items = SidItems(table.groups(), self.counts, self.device)
        self.k = k
        self.exclude_seen = exclude_seen

    def popularity(self) -> Results:
        counts = torch.from_numpy(self.counts).double().to(self.device)

        def rank_batch(batch: HistoryBatch, seen: Tensor | None) -> Lists:
            scores = counts.repeat(len(batch.lengths), 1)
            return self.sid_items.lists_from_scores(scores, self.k, seen)

        return self._rank(rank_batch, "ranking, popularity")

    @cached_property
    def chain(self) -> Markov:
        return Markov(self.sequences, self.parameters.markov)

    def markov(self) -> Results:
        def rank_batch(batch: HistoryBatch, seen: Tensor | None) -> Lists:
            scores = self._scores(self.chain, batch)
            return self.sid_items.lists_from_scores(scores, self.k, seen)

        return self._rank(rank_batch, "ranking, Markov")

    def sasrec(self, fitted: Fitted, seed: int, chain: Markov | None) -> Results:
        """Its scores, or with a chain the mixture of both probabilities."""
        self._check_data(fitted, "SASRec")
        model = SasRec.from_saved(fitted.of_seed(seed), fitted.config)
        model = model.to(self.device)

        def rank_batch(batch: HistoryBatch, seen: Tensor | None) -> Lists:
            scores = model.scores(batch.history[..., 0], batch.lengths)
            if chain is not None:
                counted = self._scores(chain, batch)
                total = counted.sum(1, keepdim=True)
                # Nothing ever followed and popularity has no weight: SASRec alone.
                counted = counted / total.masked_fill(total == 0.0, 1.0)
                share = self.parameters.sasrec_markov.share
                scores = torch.lerp(scores.double().softmax(1), counted, share)
            return self.sid_items.lists_from_scores(scores, self.k, seen)

        name = "SASRec" if chain is None else "SASRec and Markov"
        return self._rank(rank_batch, f"ranking, {name}, seed {seed}")

    def _scores(self, chain: Markov, batch: HistoryBatch) -> Tensor:
        """The chain's scores of all items ``(B, N)``."""
        history, lengths = batch.history[..., 0], batch.lengths
        scores = chain.scores(history.cpu().numpy(), lengths.cpu().numpy())
        return torch.from_numpy(scores).to(self.device)

    def autoregressive(self, fitted: Fitted, seed: int) -> Results:
        trained_on = fitted.config.get("sid_table")
        if trained_on != self.table.fingerprint:
            raise SidiffError(
                "The stored autoregressive decoder was trained on SID table "
                f"{short(trained_on)}, the stored table is "
                f"{short(self.table.fingerprint)}; run kedro run --pipeline=baselines "
                "again, or choose matching --load-versions."
            )
        self._check_data(fitted, "autoregressive decoder")
        weights = fitted.of_seed(seed)
        model = cast(
            AutoregressiveDecoder,
            AutoregressiveDecoder.from_saved(weights, fitted.config).to(self.device),
        )
        prefixes = Prefixes.of(self.table, self.device)
        codes = torch.from_numpy(self.table.codes.astype(np.int64)).to(self.device)

        def rank_batch(batch: HistoryBatch, seen: Tensor | None) -> Lists:
            memory = model.encode(codes[batch.history[..., 0]], batch.lengths)
            beam = max(self.parameters.autoregressive.beam, self.k)
            gone = self.sid_items.gone(seen)
            rows, scores = beam_search(model, memory, prefixes, beam, gone)
            return self.sid_items.lists_from_sids(rows, scores, self.k, seen)

        label = f"decoding, autoregressive, seed {seed}"
        return self._rank(rank_batch, label, self.table.digits)

    def _check_data(self, fitted: Fitted, name: str) -> None:
        trained_on = fitted.config.get("sequences")
        if trained_on != self.sequences.fingerprint:
            raise SidiffError(
                f"The stored {name} was trained on sequences {short(trained_on)}, the "
                f"stored ones are {short(self.sequences.fingerprint)}; run kedro run "
                "--pipeline=baselines again, or choose matching --load-versions."
            )
        longest = fitted.config.get("max_history")
        if longest != self.max_history:
            raise SidiffError(
                f"The stored {name} reads histories of at most {longest} items, "
                f"filtering.max_history is {self.max_history}; run kedro run "
                "--pipeline=baselines again, or give the value it was trained with."
            )

    def _rank(
        self, rank_batch: RankBatch, label: str, denoiser_calls: int = 0
    ) -> Results:
        return rank_users(
            self.sequences,
            self.samples,
            rank_batch,
            k=self.k,
            exclude_seen=self.exclude_seen,
            allowed=self.allowed,
            users_per_batch=self.parameters.users_per_batch,
            device=self.device,
            label=label,
            denoiser_calls=denoiser_calls,
        )


def _present(fitted: Fitted | None, method: str, seeds: list[int]) -> Fitted:
    trained = fitted.config.get("seeds", []) if fitted else []
    if fitted is None or not set(seeds) <= set(trained):
        raise SidiffError(
            f"{method} is among baselines.methods but was trained with the seeds "
            f"{trained}, not {seeds}; run kedro run --pipeline=baselines as a whole."
        )
    return fitted


def _named(seed: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{seed}/{name}": tensor for name, tensor in weights.items()}


def _run(seed: int, score: float, epoch: int) -> dict[str, Any]:
    return {"seed": seed, "validation_ndcg_at_10": score, "epoch": epoch}
