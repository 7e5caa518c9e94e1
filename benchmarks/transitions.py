"""Transitions in the energy: NDCG@10 of a trained network for weights and scales.

The stored network of an environment (``kedro run --env=ENV`` before it) ranks the
validation users alone and with every weight and scale, and so does SASRec if it was
trained; NDCG@10 at item level, for each seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from benchmarks.common import Row, hardware, parser, positive, publish
from benchmarks.inputs import CONF
from sidiff.baselines.sasrec import SasRec
from sidiff.diffusion.networks import network_from_saved
from sidiff.evaluation.metrics import hit_metrics
from sidiff.evaluation.run import Evaluator
from sidiff.pipelines.evaluation.nodes import evaluator_of
from sidiff.pipelines.frames import choose_seeds, split_models
from sidiff.ranking.items import ItemRanker
from sidiff.ranking.markov import Transitions
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.settings import (
    WITH_TRANSITIONS,
    RankingParameters,
    TransitionParameters,
)
from sidiff.ranking.users import rank_users
from sidiff.training.denoising import validation_samples

TOP = 10
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5)
SCALES = (0.0001, 0.001, 0.01, 0.1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("transitions", __doc__)
    options.add_argument("--env", help="of conf/; default: the sample shop's")
    options.add_argument("--users", type=positive, default=6000, help="at most")
    settings = options.parse_args(arguments)
    machine = hardware()
    torch.set_num_threads(settings.threads)
    bootstrap_project(CONF.parent)
    with KedroSession.create(CONF.parent, env=settings.env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        rows = measured(catalog, settings.users, settings.seed)
    publish(settings, machine, {"validation": rows})


def measured(catalog: Any, most_users: int, seed: int) -> list[Row]:
    """NDCG@10 of ``most_users`` validation users, drawn by ``seed``, by every ranker.

    Args:
        catalog: with the data sets of a run.
        most_users: at most; 0: all.
        seed: of the draw.
    """
    denoiser = catalog.load("denoiser")
    evaluator = evaluator_of(
        denoiser,
        catalog.load("sequences"),
        catalog.load("catalogue"),
        catalog.load("sid_table"),
        catalog.load("lattice"),
        catalog.load("params:evaluation"),
    )
    longest = int(denoiser.metadata["max_history"])
    samples = validation_samples(evaluator.sequences, longest, most_users, seed)
    users = replace(evaluator.users, samples=samples, k=TOP, slots=None)
    rows = list[Row]()
    for name, ranker in rankers(catalog, evaluator):
        alone = ndcg(rank_users(ranker, users, name))
        rows.append({"model": name, "scale": None, "alone": alone})
        for scale in SCALES:
            row: Row = {"model": name, "scale": scale}
            for weight in WEIGHTS:
                added = TransitionParameters(weight=weight, scale=scale)
                both = replace(ranker, transitions=Transitions(evaluator.chain, added))
                row[f"weight {weight}"] = ndcg(rank_users(both, users, None))
            rows.append(row)
    return rows


def rankers(catalog: Any, evaluator: Evaluator) -> Iterator[tuple[str, ItemRanker]]:
    """The networks of all seeds by their items, and SASRec's, all without transitions.

    Raises:
        SidiffError: the networks have no posterior over items.
    """
    parameters, ranking = evaluator.parameters, evaluator.inputs
    with_transitions = RankingParameters.of(WITH_TRANSITIONS, parameters.decoding)
    first, further = catalog.load("denoiser"), catalog.load("seed_denoisers")
    for seed, model in choose_seeds(first, further, parameters.seeds).items():
        with torch.inference_mode():
            found = search_model(network_from_saved(*model), ranking.items)
        ranker = method_ranker(found, with_transitions, ranking.catalogue)
        yield f"denoiser, seed {seed}", cast(ItemRanker, ranker)
    trained = {}
    if catalog.exists("baseline_networks"):
        trained = split_models(catalog.load("baseline_networks"))
    for name, model in trained.items():
        kind, _, of_seed = name.partition("/")
        if kind == "sasrec":
            network = SasRec.from_saved(*model)
            yield f"SASRec, seed {of_seed}", ItemRanker(network, ranking.catalogue)


def ndcg(results: Any) -> float:
    """Mean NDCG@10 of lists."""
    hits = hit_metrics(results.items, results.targets, [TOP])
    return float(hits[f"ndcg_at_{TOP}"].mean())


if __name__ == "__main__":
    main()
