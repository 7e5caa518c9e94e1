"""Cornac's DiffGRM on sidiff's data and with its weights, by public classes only.

Cornac is the optional extra ``bench``. Its network has the same parameters under other
names and shapes, so weights can be copied and results compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import Contestant, installed
from benchmarks.inputs import MAX_HISTORY, Shop
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.reviews.sequences import Sequences
from sidiff.training.settings import TrainingParameters

PACKAGE = "cornac"


def available() -> bool:
    """Whether the extra ``bench`` is installed."""
    return installed(PACKAGE) is not None


class PeerBatch(NamedTuple):
    """Histories as Cornac's network reads them: item indices, all of them padded.

    Attributes:
        items: ``(B, max_history)`` int64; N at pads.
        real: 1 at items, 0 at pads, float32 ``(B, max_history)``.
    """

    items: Tensor
    real: Tensor


def histories(
    sequences: Sequences, samples: NDArray[np.int32], n_items: int
) -> PeerBatch:
    """The histories of ``samples`` ``(B, 3)``: user, start, end."""
    user, start, end = samples.T.astype(np.int64)
    slots = np.arange(MAX_HISTORY)
    inside = slots < (end - start)[:, None]
    places = (sequences.offsets[user] + start)[:, None] + slots * inside
    items = np.where(inside, sequences.items[places], n_items).astype(np.int64)
    return PeerBatch(
        torch.from_numpy(items), torch.from_numpy(inside.astype(np.float32))
    )


def network(denoiser: Denoiser, codes: NDArray[np.integer], **changes: Any) -> Any:
    """Cornac's network with the weights of ``denoiser``, over items of ``codes``."""
    weights = renamed(denoiser.state_dict(), denoiser.config)
    return _filled(denoiser.config, codes, weights, **changes)


def trained_network(
    model: Any, config: DenoiserConfig, codes: NDArray[np.integer]
) -> Any:
    """The network of a fitted recommender of Cornac's, over items of ``codes``.

    Its own knows only the items of its training, in an order of its own.
    """
    weights = dict(model.model.state_dict())
    del weights["item_codes"]
    return _filled(config, codes, weights)


def _filled(
    config: DenoiserConfig,
    codes: NDArray[np.integer],
    weights: Mapping[str, Tensor],
    **changes: Any,
) -> Any:
    from cornac.models.diffgrm.diffgrm import DiffGRMBackbone  # noqa: PLC0415

    backbone = DiffGRMBackbone(
        codebook_size=config.codebook_size,
        max_len=config.max_history,
        **_shape(config),
        **changes,
    )
    backbone.set_item_codes(codes.astype(np.int64))
    missing, unexpected = backbone.load_state_dict(weights, strict=False)
    if unexpected or missing != ["item_codes"]:
        raise ValueError(f"weights without a place: {missing}, {unexpected}")
    return backbone.eval()


def _shape(config: DenoiserConfig) -> dict[str, Any]:
    return {
        "n_digit": config.digits,
        "d_model": config.d_model,
        "encoder_n_layer": config.encoder_layers,
        "decoder_n_layer": config.decoder_layers,
        "n_head": config.heads,
        "n_inner": config.d_ff,
        "dropout": config.dropout,
    }


_TOP = {
    "masks": "mask_embeddings",
    "positions": "history_positions.weight",
    "item_in.weight": "item_projection.0.weight",
    "item_in.bias": "item_projection.0.bias",
    "item_out.weight": "item_projection.2.weight",
    "item_out.bias": "item_projection.2.bias",
    "norm.weight": "final_norm.weight",
    "norm.bias": "final_norm.bias",
}
_PARTS = (
    ("encoder.", "encoder_blocks."),
    ("decoder.", "decoder_blocks."),
    ("self_norm", "self_attention_norm"),
    ("cross_norm", "cross_attention_norm"),
    ("attention.project.", "attention.qkv."),
    ("attention.output.", "attention.projection."),
    ("feed_forward.0", "feed_forward.input"),
    ("feed_forward.2", "feed_forward.output"),
)


def renamed(tensors: Mapping[str, Tensor], config: DenoiserConfig) -> dict[str, Tensor]:
    """Our weights, or their gradients, by the names and shapes of Cornac's network."""
    return dict(_renamed(tensors, config))


def _renamed(
    tensors: Mapping[str, Tensor], config: DenoiserConfig
) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if name == "codes":
            shape = (config.digits, config.codebook_size, -1)
            yield "code_embeddings", tensor.view(shape)
        elif name in _TOP:
            yield _TOP[name], tensor
        elif name.endswith("query.weight"):
            # One matrix for queries, keys and values there, two here.
            both = tensors[name.replace("query", "key_value")]
            place = name.replace("decoder", "decoder_blocks").replace("query", "qkv")
            yield place, torch.cat([tensor, both])
        elif not name.endswith("key_value.weight"):
            place = name
            for ours, theirs in _PARTS:
                place = place.replace(ours, theirs)
            yield place, tensor


def training(shop: Shop, parameters: TrainingParameters) -> Contestant:
    """One epoch of Cornac's own training over the shop's training samples."""
    model, data = recommender(shop, parameters, epochs=1)

    def epoch() -> float:
        model.is_fitted = False  # else it warns that it starts anew, as it shall
        model.fit(data)
        return float(model.training_time_)

    return epoch


def recommender(
    shop: Shop, parameters: TrainingParameters, epochs: int
) -> tuple[Any, Any]:
    """Cornac's recommender with our settings, and the data that it is fitted to."""
    from cornac.data import SequentialDataset  # noqa: PLC0415
    from cornac.models import DiffGRM  # noqa: PLC0415

    sequences, table = shop
    data = SequentialDataset.from_usit(list(_interactions(sequences)))
    # Cornac numbers items in the order in which they occur.
    codes = table.codes[list(data.iid_map)].astype(np.int64)
    network = parameters.network
    model = DiffGRM(
        codebook_size=table.codebook_size,
        item_sids=codes,
        n_digit=table.digits,
        d_model=network.d_model,
        encoder_n_layer=network.encoder_layers,
        decoder_n_layer=network.decoder_layers,
        n_head=network.heads,
        n_inner=network.d_ff,
        dropout=network.dropout,
        max_len=MAX_HISTORY,
        min_history=2,
        n_views=parameters.noising.views,
        label_smoothing=parameters.label_smoothing,
        n_epochs=epochs,
        learning_rate=parameters.optimizer.learning_rate,
        warmup_steps=parameters.optimizer.warmup_steps,
        batch_size=parameters.batch_size,
        max_grad_norm=parameters.optimizer.max_gradient_norm,
        model_selection="last",
        device="cpu",
        seed=parameters.seed,
    )
    return model, data


def _interactions(sequences: Sequences) -> Iterator[tuple[int, int, int, int]]:
    """User, session, item, time of what may train: all but the last two of each."""
    for user, (first, last) in enumerate(
        zip(sequences.offsets, sequences.offsets[1:], strict=False)
    ):
        for time, item in enumerate(sequences.items[first : last - 2].tolist()):
            yield user, user, item, time
