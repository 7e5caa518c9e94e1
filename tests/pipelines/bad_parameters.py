"""Parameters that are wrong: values, names, combinations, options and files."""

from __future__ import annotations

import math
from typing import Any

from kedro.framework.session import KedroSession

from sidiff.configuration import GROUPS, validate
from sidiff.parameters import overlaid

from ..settings import settings
from .bad_cases import Case, Place

NAN, INF = math.nan, math.inf
COUNT = "a whole number of at least 1"
NATURAL = "a whole number of at least 0"
CHANCE = "a number of at least 0 and below 1"
ABOVE_0 = "a number above 0"
TEXT = "a text that is not empty"
LIST = "a list that is not empty, each"
SHARE = "a number from 0 to 1"
SEED = "a whole number from 0 to 2,147,483,647"
PRECISIONS = "float32 or bfloat16"
DEVICES = "auto, cpu or cuda"

WRONG_VALUES: list[tuple[str, Any, str]] = [
    # the synthetic shop
    ("sample_data.users", 49, "a whole number of at least 50"),
    ("sample_data.items", 59, "a whole number of at least 60"),
    ("sample_data.seed", -1, SEED),
    # ingestion
    (
        "ingestion.layout",
        "amazon2015",
        "amazon2014, amazon2018, amazon2023 or table",
    ),
    ("ingestion.max_rejected_share", 1.01, SHARE),
    ("ingestion.max_rejected_share", NAN, SHARE),
    ("ingestion.interactions.user", "", TEXT),
    ("ingestion.interactions.item", 7, TEXT),
    ("ingestion.interactions.timestamp", None, TEXT),
    ("ingestion.interactions.time_unit", "h", "s, ms, us, ns or datetime"),
    ("ingestion.interactions.rating", [], f"null, or {TEXT}"),
    ("ingestion.items.item", "", TEXT),
    # filtering
    ("filtering.min_user_events", 0, COUNT),
    ("filtering.min_item_events", 2.5, COUNT),
    ("filtering.merge_seconds", -1, f"null, or {NATURAL}"),
    ("filtering.merge_seconds", "drop", f"null, or {NATURAL}"),
    ("filtering.windows", "suffix", "sliding, prefix or all"),
    ("filtering.min_history", 0, COUNT),
    ("filtering.max_history", "50", COUNT),
    ("filtering.catalogue", "all", "core or metadata"),
    ("filtering.min_metadata_share", 1.1, SHARE),
    ("filtering.cold_share", 0.51, "a number from 0 to 0.5"),
    # embedding
    (
        "embedding.text",
        [],
        f"{LIST} a group of field, label",
    ),
    ("embedding.encoder", "", TEXT),
    ("embedding.batch_size", 0, COUNT),
    ("embedding.shard_batches", 0, COUNT),
    ("embedding.device", "gpu", DEVICES),
    ("embedding.precision", "float16", PRECISIONS),
    ("training.precision", "bf16", PRECISIONS),
    ("evaluation.precision", 16, PRECISIONS),
    # tokenization
    ("tokenization.quantizer", "kmeans", "opq or rq_kmeans"),
    ("tokenization.collaborative.weight", -0.1, SHARE),
    ("tokenization.collaborative.dimensions", 1, "a whole number of at least 2"),
    ("tokenization.collaborative.window", 0, COUNT),
    ("tokenization.whitening.dimensions", 1, "a whole number of at least 2"),
    ("tokenization.digits", 0, COUNT),
    ("tokenization.codes", 1, "auto, or a whole number from 2 to 65,536"),
    ("tokenization.codes", "many", "auto, or a whole number from 2 to 65,536"),
    ("tokenization.max_codes", 1, "a whole number from 2 to 65,536"),
    ("tokenization.threads", 0, COUNT),
    ("tokenization.collisions", "ignore", "share or repair"),
    ("tokenization.new_items", True, "keep or refit"),
    # training
    ("training.epochs", 0, COUNT),
    ("training.epochs", True, COUNT),
    ("training.epochs", 10.5, COUNT),
    ("training.network.posterior", "codes", "items or digits"),
    ("training.network.d_model", 3, "a whole number of at least 4"),
    ("training.network.encoder_layers", 0, COUNT),
    ("training.network.dropout", 1.0, CHANCE),
    ("training.network.residual_dropout", 1.01, SHARE),
    ("training.network.cross_pad", "zero", "sink or mask"),
    ("training.noising.views", 0, COUNT),
    ("training.network.history_tokens", "item", "items or codes"),
    ("training.network.mask", "one", "per_digit or shared"),
    ("training.network.difficulty_embedding", 1, "true or false"),
    ("training.noising.amount", "some", "nested, curriculum, uniform or chance"),
    ("training.noising.order", "length", "confidence, history or random"),
    ("training.partial_weight", -1, "a number of at least 0"),
    ("training.loss_reduction", "mean", "per_view, pooled or sum"),
    ("training.optimizer.learning_rate", 0, ABOVE_0),
    ("training.optimizer.weight_decay", INF, "a number of at least 0"),
    ("training.optimizer.warmup_steps", -1, NATURAL),
    (
        "training.optimizer.max_gradient_norm",
        INF,
        ABOVE_0,
    ),
    ("training.validation.patience", 0, COUNT),
    ("training.validation.max_users", -5, NATURAL),
    ("training.validation.level", "code", "sid or item"),
    ("training.label_smoothing", NAN, CHANCE),
    ("training.batch_size", 1000.0, COUNT),
    ("training.checkpoint_seconds", -1, "a number of at least 0"),
    ("training.threads", -1, NATURAL),
    ("training.engine", "spark", "local, ddp or ray"),
    ("training.workers", 0, COUNT),
    ("training.restarts", -1, NATURAL),
    ("embedding.engine", "ddp", "local or ray"),
    ("embedding.workers", 0, COUNT),
    ("ray.address", "", f"null, or {TEXT}"),
    # evaluation
    ("evaluation.engine", None, "local or ray"),
    ("evaluation.top_k", 0, COUNT),
    (
        "evaluation.cutoffs",
        [],
        f"{LIST} {COUNT}",
    ),
    ("evaluation.cutoffs[0]", [0, 10], COUNT),
    ("evaluation.seeds", 2024, f"{LIST} {SEED}"),
    ("evaluation.seeds[1]", [1, "two"], SEED),
    ("evaluation.exclude_seen", "no", "true or false"),
    ("evaluation.decoding.beam", 0, COUNT),
    (
        "evaluation.method",
        "beam_search",
        "items_markov, items, cpd, two_stage or one_pass",
    ),
    (
        "training.validation.method",
        "items_markov",
        "items, cpd, two_stage or one_pass",
    ),
    ("evaluation.decoding.parallel.digits_per_step", 0, COUNT),
    ("evaluation.transitions.weight", -1, "a number of at least 0"),
    ("evaluation.transitions.scale", 0, ABOVE_0),
    ("evaluation.markov.items", 0, COUNT),
    ("evaluation.markov.decay", -0.1, SHARE),
    ("evaluation.markov.successors", 0, COUNT),
    ("evaluation.decoders.mine.beam", 0, COUNT),
    ("evaluation.decoders.mine", 3, "a group of names and values"),
    # baselines
    (
        "baselines.methods[0]",
        ["svd"],
        "popularity, markov, sasrec, sasrec_markov or autoregressive",
    ),
    ("baselines.sasrec_markov.scale", -1.5, ABOVE_0),
    ("baselines.markov.weight", NAN, "a number of at least 0"),
    ("baselines.sasrec.layers", 0, COUNT),
    ("baselines.sasrec.tune[0].dropout", [{"dropout": 1.0}], CHANCE),
    ("baselines.sasrec.stopping.every_epochs", 0, COUNT),
    ("baselines.autoregressive.learning_rate", 0, ABOVE_0),
    ("baselines.users_per_batch", 0, COUNT),
    # comparison and ablation
    ("comparison.bootstrap.level", 95, "a number above 0 and below 1"),
    ("comparison.bootstrap.resamples", 0, COUNT),
    ("comparison.history_edges[0]", [1], "a whole number of at least 2"),
    # from a bundle
    ("recommend.histories", "", f"null, or {TEXT}"),
    ("recommend.top_k", 0, COUNT),
    ("recommend.exclude_seen", "yes", "true or false"),
    ("recommend.deny_items", 3, f"null, or {TEXT}"),
    ("recommend.decoder", "beam", "null, or "),
    ("recommend.users_per_part", 0, COUNT),
    ("recommend.device", "tpu", DEVICES),
    ("update.new_items", 3, f"null, or {TEXT}"),
    ("update.removed_items", [], f"null, or {TEXT}"),
    ("ablation.decoder", "C P D", "of 1 to 40 small letters, digits and _"),
    ("ablation.variants.mine.epochs", 0, COUNT),
    ("ablation.seeds", [], f"{LIST} {SEED}"),
    # whole groups
    ("training", None, "a group of network, noising,"),
    ("training.network", 3, "a group of d_model, heads,"),
]
"""Name as a user writes it (an entry of a list in brackets), value, what is legal.

With brackets the value is that of the whole list.
"""

NOT_PARAMETERS = [
    ("training.epoch", "did you mean training.epochs?"),
    ("training.learning_rate", "did you mean training.optimizer.learning_rate?"),
    ("training.validation.decoding.beem", "training.validation.decoding.beam?"),
    ("baselines.sasrec.layer", "did you mean baselines.sasrec.layers?"),
    ("ablation.variants.mine.epoch", "did you mean ablation.variants.mine.epochs?"),
    ("evaluation.decoders.mine.bean", "did you mean evaluation.decoders.mine.beam?"),
    ("recommend.top", "did you mean recommend.top_k?"),
    ("update.new_item", "did you mean update.new_items?"),
    ("sample_data.zzz", "known: users, items, seed"),
]
"""Names that are none, and what the sentence offers in their place."""

COMBINATIONS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"filtering": {"min_history": 60}},
        ["filtering.min_history (60)", "filtering.max_history (50)"],
    ),
    (
        {"tokenization": {"digits": 5}},
        ["tokenization.digits (5) must divide tokenization.whitening.dimensions (64)"],
    ),
    (
        {"training": {"engine": "ddp", "workers": 16}},
        [
            "training.batch_size (64)",
            "training.workers (16) times training.samples_per_pass (64)",
        ],
    ),
    (
        {"training": {"network": {"heads": 5}}},
        ["training.network.heads (5) must divide training.network.d_model (96)"],
    ),
    (
        {"baselines": {"sasrec": {"tune": [{"heads": 3}]}}},
        ["baselines.sasrec.tune[0].heads (3) must divide"],
    ),
    (
        {"training": {"noising": {"views": 5}}},
        ["training.noising.views (5)", "4 digits", "tokenization.digits"],
    ),
    (
        {"ablation": {"variants": {"mine": {"noising": {"views": 9}}}}},
        ["ablation.variants.mine.noising.views (9)", "4 digits"],
    ),
    (
        {"training": {"network": {"posterior": "digits"}}},
        ["evaluation.method items_markov", "training.network.posterior items"],
    ),
    (
        {
            "training": {"network": {"posterior": "digits"}},
            "evaluation": {"method": "cpd"},
        },
        ["training.validation.method items", "training.network.posterior items"],
    ),
    (
        {
            "ablation": {
                "decoder": "items",
                "variants": {"bare": {"network": {"posterior": "digits"}}},
            }
        },
        [
            "evaluation.decoders.items.method items",
            "ablation.variants.bare.network.posterior items",
        ],
    ),
    ({"evaluation": {"top_k": 3}}, ["evaluation.top_k (3)", "evaluation.cutoffs (10)"]),
    ({"evaluation": {"cutoffs": [5, 5]}}, ["evaluation.cutoffs (5, 5)", "different"]),
    ({"ablation": {"seeds": [1, 1]}}, ["ablation.seeds (1, 1)", "different"]),
    (
        {"baselines": {"methods": ["sasrec", "sasrec"]}},
        ["baselines.methods (sasrec, sasrec)", "different"],
    ),
    (
        {"evaluation": {"decoders": {"markov": {}}}},
        ["evaluation.decoders names markov", "baselines.methods"],
    ),
    (
        {"evaluation": {"decoders": {"as_configured": {}}}},
        ["evaluation.decoders names as_configured", "evaluation.method"],
    ),
    (
        {"evaluation": {"decoders": {"My Decoder": {}}}},
        ["evaluation.decoders names My Decoder", "small letters"],
    ),
    (
        {"comparison": {"references": ["cdp"]}},
        [
            "comparison.references names cdp",
            "as_configured, items, cpd",
        ],
    ),
    ({"ablation": {"decoder": "cdp"}}, ["ablation.decoder is cdp", "items, cpd"]),
    (
        {"comparison": {"popularity_edges": [1, 5, 5]}},
        ["comparison.popularity_edges ([1, 5, 5]) must increase"],
    ),
    (
        {"embedding": {"text": [{"field": "color", "label": ""}]}},
        ["embedding.text[0].field is color", "title, brand", "amazon2014"],
    ),
    (
        {"embedding": {"text": [{"field": "title"}]}},
        ["embedding.text[0].label is missing", "must be a text"],
    ),
    (
        {"ingestion": {"items": {"fields": {"titel": "name"}}}},
        ["ingestion.items.fields names titel", "title, brand, categories, price"],
    ),
    (
        {"training": {"epochs": 0, "seed": -1}},
        ["training.epochs is 0", "training.seed"],
    ),
]
"""Values that exclude each other, and names inside of values."""

RUN_OPTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"preset": "papre"}, ["preset papre", "sidiff, paper, release"]),
    ({"preset": None}, ["preset null", "sidiff, paper, release"]),
    ({"recipe": "mgdr"}, ["recipe mgdr", "diffgrm, mdgr"]),
    ({"dataset": "../elsewhere"}, ["dataset is", "letters, digits"]),
    ({"dataset": ""}, ['dataset is ""', "1 to 100 letters"]),
    ({"storage": ""}, ["no place to store anything", "SIDIFF_STORAGE"]),
    ({"storage": 7}, ["storage is 7", "must be a text"]),
    ({"storage": "https://host/x"}, ["storage is https://host/x", "object store"]),
    ({"raw_reviews": "r.gz"}, ["raw_reviews alone", "raw_metadata=PATH"]),
    (
        {"raw_reviews": None, "raw_metadata": 3},
        ["raw_reviews is null", "raw_metadata is 3", TEXT],
    ),
    ({"trainig": {"epochs": 2}}, ["trainig", "did you mean training?"]),
    ({"epochs": 3}, ["epochs", "training.epochs", "baselines.sasrec.epochs"]),
    ({"zzzzzz": 3}, ["zzzzzz", "known: sample_data, ingestion,"]),
]
"""What stands beside the groups of parameters."""

FILES: list[tuple[str, str, list[str]]] = [
    ("parameters.yml", "trainig: {epochs: 2}", ["trainig", "did you mean training?"]),
    ("parameters.yml", "preset: paper", ["preset to paper", "go by sidiff"]),
    ("parameters.yml", "dataset: mine", ["dataset to mine", "globals.yml"]),
    ("parameters.yml", "training: {epochs: 2", ["parameters.yml", "cannot be read"]),
    ("parameters.yml", "training: [1]", ["parameters", "a list or a value"]),
    (
        "parameters.yml",
        "training: {epochs: '${globals:nosuch}'}",
        ["training.epochs", "nosuch"],
    ),
    ("globals.yml", "raw: {souce: files}", ["raw.souce", "did you mean raw.source?"]),
    ("globals.yml", "raw: {source: fils}", ["raw.source is", "sample or files"]),
    ("globals.yml", "raw: {reviews_url: 'ftp://x'}", ["raw.reviews_url", "http"]),
    ("globals.yml", "scratch: 's3://x'", ["scratch", "a folder on this machine"]),
    ("parameters.yml", "storage: there", ["storage to there", "go by data"]),
    ("globals.yml", "datset: mine", ["datset", "did you mean dataset?"]),
    ("globals.yml", "preset: papre", ["preset is papre", "sidiff, paper, release"]),
    (
        "globals.yml",
        "presets: {paper: {merg: none}}",
        ["presets.paper has the name merg"],
    ),
]
"""A file of the environment, what it says, and what the sentence must say."""


def load(place: Place, given: dict[str, Any] | None, env: str | None = None) -> None:
    """What every command does first: session, context, checks."""
    with KedroSession.create(place.project, env=env, runtime_params=given) as session:
        session.load_context()


def check(given: dict[str, Any]) -> None:
    """What the context does with the groups, of which some values are changed."""
    base = {name: settings(name) for name in GROUPS}
    validate(overlaid(base, given))


def nested(name: str, value: Any) -> dict[str, Any]:
    """A value under its dotted name; what comes after a bracket is inside of it."""
    for part in reversed(name.partition("[")[0].split(".")):
        value = {part: value}
    return dict(value)


def in_a_file(place: Place, name: str, text: str) -> None:
    """Write a file of an environment of its own, and load that."""
    folder = place.project / "conf" / "spoilt"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text)
    try:
        load(place, None, "spoilt")
    finally:
        file.unlink()


def environment_without_parameters(place: Place) -> None:
    base = place.project / "conf" / "base" / "parameters" / "ablation.yml"
    text = base.read_text()
    base.unlink()
    try:
        load(place, None)
    finally:
        base.write_text(text)


CASES = [
    *(
        Case(
            f"{name}={value!r:.40}",
            lambda _, n=name, v=value: check(nested(n, v)),  # type: ignore[misc]
            (f"{name} is ", "but must be ", legal),
        )
        for name, value, legal in WRONG_VALUES
    ),
    *(
        Case(
            name,
            lambda _, n=name: check(nested(n, 1)),  # type: ignore[misc]
            (f"{name} is not a parameter", hint),
        )
        for name, hint in NOT_PARAMETERS
    ),
    *(
        Case(
            str(given)[:70],
            lambda _, g=given: check(g),  # type: ignore[misc]
            words,
        )
        for given, words in COMBINATIONS
    ),
    *(
        Case(
            str(given)[:70],
            lambda place, g=given: load(place, g),  # type: ignore[misc]
            words,
        )
        for given, words in [*RUN_OPTIONS, (nested("training.epochs", 0), [COUNT])]
    ),
    *(
        Case(
            f"{name}: {text}",
            lambda place, n=name, t=text: in_a_file(place, n, t),  # type: ignore[misc]
            words,
        )
        for name, text, words in FILES
    ),
    Case(
        "no such environment",
        lambda place: load(place, None, "beuaty"),
        ("environment beuaty", "beauty, beauty_cpu"),
    ),
    Case(
        "a group in no file",
        environment_without_parameters,
        ("ablation", "conf/base"),
    ),
]
