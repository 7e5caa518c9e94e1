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
COUNT = "greater than or equal to 1"
NATURAL = "greater than or equal to 0"
INTEGER = "a valid integer"
STRING = "a valid string"
BELOW_1 = "less than 1"
ABOVE_0 = "greater than 0"
AT_MOST_1 = "less than or equal to 1"
FINITE = "a finite number"
DEVICES = "'auto', 'cpu' or 'cuda'"
PRECISIONS = "'float32' or 'bfloat16'"
NOT_EMPTY = "have at least 1 item"
NO_TEXT = "have at least 1 character"
BOOLEAN = "a valid boolean"
GROUP = "a valid dictionary"
LEAST_2 = "greater than or equal to 2"

WRONG_VALUES: list[tuple[str, Any, str]] = [
    # the synthetic shop
    ("sample_data.users", 49, "greater than or equal to 50"),
    ("sample_data.items", 59, "greater than or equal to 60"),
    ("sample_data.seed", -1, NATURAL),
    # ingestion
    (
        "ingestion.layout",
        "amazon2015",
        "'amazon2014', 'amazon2018', 'amazon2023' or 'table'",
    ),
    ("ingestion.max_rejected_share", 1.01, AT_MOST_1),
    ("ingestion.max_rejected_share", NAN, FINITE),
    ("ingestion.interactions.user", "", NO_TEXT),
    ("ingestion.interactions.item", 7, STRING),
    ("ingestion.interactions.timestamp", None, STRING),
    ("ingestion.interactions.time_unit", "h", "'s', 'ms', 'us', 'ns' or 'datetime'"),
    ("ingestion.interactions.rating", [], STRING),
    ("ingestion.items.item", "", NO_TEXT),
    # filtering
    ("filtering.min_user_interactions", 0, COUNT),
    ("filtering.min_item_interactions", 2.5, INTEGER),
    ("filtering.merge_seconds", -1, NATURAL),
    ("filtering.merge_seconds", "drop", INTEGER),
    ("filtering.windows", "suffix", "'sliding', 'prefix' or 'all'"),
    ("filtering.min_history", 0, COUNT),
    ("filtering.max_history", "50", INTEGER),
    ("filtering.catalogue", "all", "'core' or 'metadata'"),
    ("filtering.min_metadata_share", 1.1, AT_MOST_1),
    ("filtering.cold_share", 0.51, "less than or equal to 0.5"),
    # embedding
    (
        "embedding.text",
        [],
        NOT_EMPTY,
    ),
    ("embedding.encoder", "", NO_TEXT),
    ("embedding.batch_size", 0, COUNT),
    ("embedding.shard_batches", 0, COUNT),
    ("embedding.device", "gpu", DEVICES),
    ("embedding.precision", "float16", PRECISIONS),
    ("training.precision", "bf16", PRECISIONS),
    ("evaluation.precision", 16, PRECISIONS),
    # tokenization
    ("tokenization.quantizer", "kmeans", "opq or rq_kmeans"),
    ("tokenization.collaborative.weight", -0.1, NATURAL),
    ("tokenization.collaborative.dimensions", 1, LEAST_2),
    ("tokenization.collaborative.window", 0, COUNT),
    ("tokenization.whitening.dimensions", 1, LEAST_2),
    ("tokenization.digits", 0, COUNT),
    ("tokenization.codebook_size", 1, "'auto' or be greater than or equal to 2"),
    ("tokenization.codebook_size", "many", "'auto' or be a valid integer"),
    ("tokenization.max_codebook_size", 1, LEAST_2),
    ("tokenization.threads", 0, COUNT),
    ("tokenization.collisions", "ignore", "'share' or 'repair'"),
    ("tokenization.new_items", True, "'keep' or 'refit'"),
    # training
    ("training.epochs", 0, COUNT),
    ("training.epochs", True, INTEGER),
    ("training.epochs", 10.5, INTEGER),
    ("training.network.posterior", "codes", "'items' or 'digits'"),
    ("training.network.d_model", 3, "greater than or equal to 4"),
    ("training.network.encoder_layers", 0, COUNT),
    ("training.network.dropout", 1.0, BELOW_1),
    ("training.network.residual_dropout", 1.01, AT_MOST_1),
    ("training.network.cross_pad", "zero", "'sink' or 'mask'"),
    ("training.noising.views", 0, COUNT),
    ("training.network.history_tokens", "item", "'items' or 'codes'"),
    ("training.network.mask", "one", "'per_digit' or 'shared'"),
    ("training.network.difficulty_embedding", 1, BOOLEAN),
    ("training.noising.amount", "some", "nested, curriculum, uniform or chance"),
    ("training.noising.order", "length", "confidence, history or random"),
    ("training.partial_weight", -1, NATURAL),
    ("training.loss_reduction", "mean", "'per_view', 'pooled' or 'sum'"),
    ("training.optimizer.learning_rate", 0, ABOVE_0),
    ("training.optimizer.weight_decay", INF, FINITE),
    ("training.optimizer.warmup_steps", -1, NATURAL),
    (
        "training.optimizer.max_gradient_norm",
        INF,
        FINITE,
    ),
    ("training.validation.patience", 0, COUNT),
    ("training.validation.max_users", -5, NATURAL),
    ("training.validation.level", "code", "'sid' or 'item'"),
    ("training.label_smoothing", NAN, FINITE),
    ("training.batch_size", 1000.0, INTEGER),
    ("training.checkpoint_seconds", -1, NATURAL),
    ("training.threads", -1, NATURAL),
    ("training.engine", "spark", "'local', 'ddp' or 'ray'"),
    ("training.workers", 0, COUNT),
    ("training.restarts", -1, NATURAL),
    ("embedding.engine", "ddp", "'local' or 'ray'"),
    ("embedding.workers", 0, COUNT),
    ("ray.address", "", NO_TEXT),
    # evaluation
    ("evaluation.engine", None, "'local' or 'ray'"),
    ("evaluation.top_k", 0, COUNT),
    (
        "evaluation.cutoffs",
        [],
        NOT_EMPTY,
    ),
    ("evaluation.cutoffs[0]", [0, 10], COUNT),
    ("evaluation.seeds", 2024, "a valid list"),
    ("evaluation.seeds[1]", [1, "two"], INTEGER),
    ("evaluation.exclude_seen", "no", BOOLEAN),
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
    ("evaluation.transitions.weight", -1, NATURAL),
    ("evaluation.transitions.scale", 0, ABOVE_0),
    ("evaluation.markov.items", 0, COUNT),
    ("evaluation.markov.decay", -0.1, NATURAL),
    ("evaluation.markov.successors", 0, COUNT),
    ("evaluation.decoders.mine.beam", 0, COUNT),
    ("evaluation.decoders.mine", 3, GROUP),
    # baselines
    (
        "baselines.methods[0]",
        ["svd"],
        "popularity, markov, sasrec, sasrec_markov or autoregressive",
    ),
    ("baselines.sasrec_markov.scale", -1.5, ABOVE_0),
    ("baselines.markov.weight", NAN, FINITE),
    ("baselines.sasrec.layers", 0, COUNT),
    ("baselines.sasrec.tune[0].dropout", [{"dropout": 1.0}], BELOW_1),
    ("baselines.sasrec.stopping.every_epochs", 0, COUNT),
    ("baselines.autoregressive.learning_rate", 0, ABOVE_0),
    ("baselines.users_per_batch", 0, COUNT),
    # comparison and ablation
    ("comparison.bootstrap.confidence", 95, BELOW_1),
    ("comparison.bootstrap.resamples", 0, COUNT),
    ("comparison.history_edges[0]", [1], LEAST_2),
    # from a bundle
    ("recommend.histories", "", NO_TEXT),
    ("recommend.top_k", 0, COUNT),
    ("recommend.exclude_seen", "yes", BOOLEAN),
    ("recommend.deny_items", 3, STRING),
    (
        "recommend.decoder",
        "beam",
        "items_markov, items, cpd, two_stage or one_pass",
    ),
    ("recommend.users_per_part", 0, COUNT),
    ("recommend.device", "tpu", DEVICES),
    ("update.new_items", 3, STRING),
    ("update.removed_items", [], STRING),
    (
        "ablation.decoder",
        "C P D",
        "1 to 40 small letters, digits and _, a letter first",
    ),
    ("ablation.variants.mine.epochs", 0, COUNT),
    ("ablation.seeds", [], NOT_EMPTY),
    # whole groups
    ("training", None, GROUP),
    ("training.network", 3, GROUP),
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
        ['evaluation.decoders names "My Decoder"', "small letters"],
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
        ["embedding.text[0].label is missing"],
    ),
    (
        {"ingestion": {"items": {"fields": {"titel": "name"}}}},
        ['ingestion.items.fields names "titel"', "'title', 'brand', 'categories'"],
    ),
    (
        {"training": {"epochs": 0, "seed": -1}},
        ["training.epochs is 0", "training.seed"],
    ),
]
"""Values that exclude each other, and names inside of values."""

RUN_OPTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"preset": "papre"}, ['preset is "papre"', "'sidiff', 'paper' or 'release'"]),
    ({"preset": None}, ["preset is null", "'sidiff', 'paper' or 'release'"]),
    ({"recipe": "mgdr"}, ['recipe is "mgdr"', "'diffgrm' or 'mdgr'"]),
    ({"dataset": "../elsewhere"}, ["dataset is", "letters, digits"]),
    ({"dataset": ""}, ['dataset is ""', "1 to 100 letters"]),
    ({"storage": ""}, ["no place to store anything", "SIDIFF_STORAGE"]),
    ({"storage": 7}, ["storage is 7", STRING]),
    ({"storage": "https://host/x"}, ["storage is https://host/x", "object store"]),
    ({"raw_reviews": "r.gz"}, ["raw_metadata is missing", "synthetic shop"]),
    (
        {"raw_reviews": "", "raw_metadata": 3},
        ['raw_reviews is ""', "raw_metadata is 3", STRING],
    ),
    ({"trainig": {"epochs": 2}}, ["trainig", "did you mean training?"]),
    ({"epochs": 3}, ["epochs", "training.epochs", "baselines.sasrec.epochs"]),
    ({"zzzzzz": 3}, ["zzzzzz", "known: sample_data, ingestion,"]),
]
"""What stands beside the groups of parameters."""

FILES: list[tuple[str, str, list[str]]] = [
    ("parameters.yml", "trainig: {epochs: 2}", ["trainig", "did you mean training?"]),
    ("parameters.yml", "preset: paper", ["sets preset", "globals.yml"]),
    ("parameters.yml", "dataset: mine", ["sets dataset", "globals.yml"]),
    ("parameters.yml", "training: {epochs: 2", ["parameters.yml", "cannot be read"]),
    ("parameters.yml", "training: [1]", ["parameters", "cannot be read"]),
    (
        "parameters.yml",
        "training: {epochs: '${globals:nosuch}'}",
        ["training.epochs", "nosuch"],
    ),
    ("globals.yml", "raw: beuaty", ["raw is beuaty", "sample, beauty, sports"]),
    (
        "globals.yml",
        "raw_files: {beauty: {review: there}}",
        ["raw_files.beauty.review is not", "did you mean raw_files.beauty.reviews?"],
    ),
    (
        "globals.yml",
        "raw_files: {beauty: {reviews_url: 'ftp://x'}}",
        ["raw_files.beauty.reviews_url", "http"],
    ),
    ("globals.yml", "extends: beuaty", ["extends is beuaty", "name an environment"]),
    ("globals.yml", "scratch: 's3://x'", ["scratch", "a folder on this machine"]),
    ("parameters.yml", "storage: there", ["sets storage", "globals.yml"]),
    ("globals.yml", "datset: mine", ["datset", "did you mean dataset?"]),
    ("globals.yml", "preset: papre", ['preset is "papre"', "'release'"]),
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
            (f"{name} is ", "but must ", legal),
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
        ("ablation is missing",),
    ),
]
