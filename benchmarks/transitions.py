"""Transitions in the energy: what weight and scale suit a trained network.

Validation users of an environment's stored run (``kedro run --env=ENV`` before it) are
ranked for by the network alone and with every weight and scale, and so by SASRec where
it was trained; NDCG@10 at item level, for each seed. The test split is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from benchmarks.common import Row, hardware, parser, positive, publish
from benchmarks.inputs import CONF
from sidiff.baselines.sasrec import SasRec
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.joint import JointDenoiser
from sidiff.diffusion.networks import network_from_saved
from sidiff.errors import SidiffError
from sidiff.evaluation.metrics import hit_metrics
from sidiff.evaluation.run import Evaluator
from sidiff.pipelines.evaluation.nodes import evaluator_of
from sidiff.pipelines.frames import choose_seeds, split_models
from sidiff.ranking.items import ItemRanker, ItemScorer, PosteriorItems
from sidiff.ranking.markov import Transitions
from sidiff.ranking.settings import TransitionParameters
from sidiff.ranking.users import rank_users
from sidiff.snapshots import below
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
    project = CONF.parent
    bootstrap_project(project)
    with KedroSession.create(project, env=settings.env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        evaluator = evaluator_of(
            *map(catalog.load, ("denoiser", "sequences", "catalogue", "sid_table")),
            *map(catalog.load, ("lattice", "params:evaluation")),
        )
        samples = validation_samples(
            evaluator.sequences,
            int(catalog.load("denoiser").metadata["max_history"]),
            settings.users,
            settings.seed,
        )
        users = replace(evaluator.users, samples=samples, k=TOP, slots=None)
        chain, rows = evaluator.transitions.chain, list[Row]()
        for name, scorer in scorers(catalog, evaluator):
            alone = rank_users(ItemRanker(scorer, evaluator.catalogue), users, name)
            rows.append({"model": name, "scale": None, "alone": ndcg(alone)})
            for scale in SCALES:
                row: Row = {"model": name, "scale": scale}
                for weight in WEIGHTS:
                    added = TransitionParameters(weight=weight, scale=scale)
                    transitions = Transitions(chain, added)
                    ranker = ItemRanker(scorer, evaluator.catalogue, transitions)
                    row[f"weight {weight}"] = ndcg(rank_users(ranker, users, None))
                rows.append(row)
    publish(settings, machine, {"validation": rows})


def scorers(catalog: Any, evaluator: Evaluator) -> Iterator[tuple[str, ItemScorer]]:
    """The networks of all seeds that rank items, and SASRec's."""
    models = choose_seeds(
        catalog.load("denoiser"),
        catalog.load("seed_denoisers"),
        evaluator.parameters.seeds,
    )
    for seed, model in models.items():
        network = network_from_saved(model.tensors, model.metadata)
        if not isinstance(network, JointDenoiser):
            raise SidiffError("Transitions need training.network.posterior: items.")
        with torch.inference_mode():
            posterior = Posterior(network, evaluator.histories.table)
        yield f"denoiser, seed {seed}", PosteriorItems(posterior)
    if not catalog.exists("baseline_networks"):
        return
    stored = split_models(catalog.load("baseline_networks")).get("sasrec")
    if stored is None:
        return
    for seed in stored.metadata["seeds"]:
        weights = below(str(seed), stored.tensors)
        yield f"SASRec, seed {seed}", SasRec.from_saved(weights, stored.metadata)


def ndcg(results: Any) -> float:
    """Mean NDCG@10 of lists."""
    hits = hit_metrics(results.items, results.targets, [TOP])
    return float(hits[f"ndcg_at_{TOP}"].mean())


if __name__ == "__main__":
    main()
