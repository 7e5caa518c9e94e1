"""An autoregressive SID decoder: the denoiser's blocks, digits from left to right.

The control that masked diffusion must beat (TIGER, arXiv 2305.05065, generates SIDs
so): same history encoder, same decoder blocks, same table of code vectors, same number
of weights. The one difference is the factorisation: digit j sees the digits before it
and no others. Its input is the vector of digit j - 1 plus the denoiser's mask vector of
digit j, which here says which digit is asked for.

Trained with teacher forcing; decoded by a beam over the prefixes of existing SIDs, with
the keys and values of the digits already chosen kept and moved along with their beams.

Symbols: B batch, A beams, L digits, K codes, P digits already read, Q digits read now,
H heads, d width, U users, S distinct SIDs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.baselines.fitting import Budget, Trained, train
from sidiff.decoding.keys import SidIndex, slices
from sidiff.diffusion.blocks import DecoderLayer
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig, Memory
from sidiff.diffusion.histories import Histories
from sidiff.diffusion.objective import Loss
from sidiff.evaluation import metrics as m
from sidiff.onednn import product
from sidiff.parameters import AutoregressiveParameters, TrainingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.loop import by_length, samples_fingerprint, validation_samples
from sidiff.training.progress import Checkpoints

SCORE_CUTOFF = 10
PLAIN = {"item_identity": False, "mask": "per_digit", "difficulty_embedding": False}
"""What the counterpart of any denoiser has not: items have no identity, a mask vector
says which digit is asked for, and always one digit is."""


class Past(NamedTuple):
    """Self-attention of one layer over the digits already read.

    Attributes:
        keys: ``(B, A, H, P, d / H)``.
        values: as ``keys``.
    """

    keys: Tensor
    values: Tensor

    def take(self, parents: Tensor) -> Past:
        """The past of the beams ``parents`` ``(B, A')`` of each user."""
        index = parents[..., None, None, None].expand(-1, -1, *self.keys.shape[2:])
        return Past(self.keys.gather(1, index), self.values.gather(1, index))


class CausalDecoderLayer(DecoderLayer):
    """The denoiser's decoder block, whose digits look back only."""

    def extend(
        self,
        x: Tensor,
        past: Past | None,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Past]:
        """Read Q digits after P earlier ones.

        Args:
            x: tokens ``(B, A, Q, d)``.
            past: this layer's earlier digits; None where there are none.
            keys: of the memory, as ``values`` and ``bias``.
            values: of the memory.
            bias: of the memory.

        Returns:
            Tokens ``(B, A, Q, d)`` and the past with them added.
        """
        attention = self.self_attention
        heads = attention.project(self.self_norm(x))
        heads = heads.unflatten(3, (3, attention.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, now = heads[0], Past(heads[1], heads[2])
        if past is not None:
            now = Past(
                torch.cat([past.keys, now.keys], 3),
                torch.cat([past.values, now.values], 3),
            )
        new, known = query.shape[3], now.keys.shape[3]
        visible = torch.ones(new, known, dtype=torch.bool, device=x.device)
        mixed = F.scaled_dot_product_attention(
            query.flatten(0, 1),
            now.keys.flatten(0, 1),
            now.values.flatten(0, 1),
            attn_mask=visible.tril(known - new),
            dropout_p=attention.dropout if self.training else 0.0,
        )
        mixed = attention.output(mixed.transpose(1, 2).flatten(2)).view_as(x)
        return self.read(x + self.dropout(mixed), keys, values, bias), now


class AutoregressiveDecoder(Denoiser):
    """History encoder and left-to-right SID decoder, with the denoiser's weights."""

    STORED = ("autoregressive decoder", "baselines")

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.decoder = nn.ModuleList(
            CausalDecoderLayer(config) for _ in range(config.decoder_layers)
        )

    def logits(
        self,
        codes: Tensor,
        masked: Tensor,
        memory: Memory,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Predict every digit from those before it, all at once.

        Args:
            codes: ``(B, V, L)`` int64; digit j is read by later digits only.
            masked: not read: the digits before a predicted one count as filled.
            memory: the users' histories, batch size B.
            wanted: not read: all digits are predicted.

        Returns:
            Logits ``(B, V, L, K)``.
        """
        del masked, wanted
        rows = (codes + self.first_row)[..., :-1]
        before = F.pad(F.embedding(rows, self.codes), (0, 0, 1, 0))
        x, _ = self._extend(before + self.masks, None, memory)
        tables = self.codes.view(self.config.digits, self.config.codes_per_digit, -1)
        tokens = x.flatten(0, 1).transpose(0, 1)
        logits = torch.bmm(tokens, tables.transpose(1, 2))
        return logits.transpose(0, 1).unflatten(0, codes.shape[:2])

    def next_digit(
        self,
        digit: int,
        previous: Tensor,
        past: list[Past] | None,
        memory: Memory,
    ) -> tuple[Tensor, list[Past]]:
        """Predict one digit, reading only the digit before it.

        Args:
            digit: which, from 0.
            previous: code of digit ``digit - 1`` ``(B, A)``; not read at digit 0.
            past: every layer's earlier digits; None at digit 0.
            memory: the users' histories.

        Returns:
            Logits ``(B, A, K)``, without gradient, and the past that the next digit
            needs.
        """
        x = self.masks[digit].expand(*previous.shape, -1)
        if digit:
            x = x + self.codes[self.first_row[digit - 1] + previous]
        x, now = self._extend(x[:, :, None], past, memory)
        size = self.config.codes_per_digit
        table = self.codes[digit * size : (digit + 1) * size]
        return product(x[:, :, 0], table), now

    def _extend(
        self, x: Tensor, past: list[Past] | None, memory: Memory
    ) -> tuple[Tensor, list[Past]]:
        x = self.dropout(x)
        now = []
        for number, layer in enumerate(
            cast(Iterable[CausalDecoderLayer], self.decoder)
        ):
            x, kept = layer.extend(
                x,
                past[number] if past else None,
                memory.keys[number],
                memory.values[number],
                memory.bias,
            )
            now.append(kept)
        return self.norm(x), now


class Prefixes:
    """The prefix tree of the existing SIDs, for any number of digits.

    Made of the sorted keys ``prefix * K + code`` of ``SidIndex``: the children of a
    prefix are a slice of the next level.
    """

    def __init__(self, index: SidIndex) -> None:
        """Take the prefixes of the SIDs in ``index``."""
        self.codes_per_digit = index.codes_per_digit
        self.levels = index.levels
        self.row_of_leaf = index.row_of_leaf
        self.starts = []
        nodes = 1
        for keys in self.levels:
            bounds = torch.arange(nodes + 1, device=keys.device) * self.codes_per_digit
            self.starts.append(torch.searchsorted(keys, bounds))
            nodes = len(keys)

    @classmethod
    def of(cls, table: SidTable, device: torch.device) -> Prefixes:
        """The prefixes of a table's distinct SIDs, on ``device``."""
        sids = table.groups().sid_codes
        return cls(SidIndex(sids, table.codes_per_digit, device))

    def reachable(self, gone: Tensor) -> list[Tensor]:
        """Which prefixes of 1, 2, ... digits lead to a SID that a user may get.

        Args:
            gone: SIDs that a user may not get, bool ``(B, S)``.

        Returns:
            Of every number of digits, bool ``(B, prefixes)``.
        """
        found = [~gone[:, self.row_of_leaf]]
        for keys in reversed(self.levels[1:]):
            parents = keys // self.codes_per_digit
            # Sorted and without gaps: the last is the highest.
            counts = torch.zeros(
                len(gone), int(parents[-1]) + 1, dtype=torch.int32, device=gone.device
            )
            counts.index_add_(1, parents, found[0].int())
            found.insert(0, counts > 0)
        return found

    def allowed(
        self, digit: int, prefixes: Tensor, reachable: list[Tensor] | None = None
    ) -> Tensor:
        """Codes of ``digit`` that lead to a SID: bool ``(B, A, K)``.

        With ``reachable``, to one that the user may get.
        """
        starts, flat = self.starts[digit], prefixes.flatten()
        counts = starts[flat + 1] - starts[flat]
        owner, edge = slices(starts[flat], counts)
        size = self.codes_per_digit
        mask = torch.zeros(len(flat), size, dtype=torch.bool, device=flat.device)
        codes = self.levels[digit][edge] % size
        if reachable is None:
            mask[owner, codes] = True
        else:
            mask[owner, codes] = reachable[digit][owner // prefixes.shape[1], edge]
        return mask.view(*prefixes.shape, size)

    def follow(self, digit: int, prefixes: Tensor, codes: Tensor) -> Tensor:
        """The prefixes with one digit more; meaningless where none is such."""
        keys = self.levels[digit]
        place = torch.searchsorted(keys, prefixes * self.codes_per_digit + codes)
        return place.clamp(max=len(keys) - 1)


@torch.inference_mode()
def beam_search(
    model: AutoregressiveDecoder,
    memory: Memory,
    prefixes: Prefixes,
    beam: int,
    gone: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``beam`` likeliest existing SIDs, as far as the search sees them.

    Every prefix kept leads to a SID that the user may get, so as many are found as
    the beam holds or there are.

    Args:
        model: in evaluation mode.
        memory: the users' encoded histories, batch size B.
        prefixes: of the existing SIDs.
        beam: prefixes kept after every digit.
        gone: SIDs that a user may not get, bool ``(B, S)``; None: all may be had.

    Returns:
        Rows of distinct SIDs, best first, and their summed log-probabilities, both
        ``(B, A)`` with A at most ``beam``; -1 and -inf where a user has fewer.
    """
    batch, device = memory.bias.shape[0], memory.bias.device
    size = prefixes.codes_per_digit
    scores = torch.zeros(batch, 1, device=device)
    nodes = torch.zeros(batch, 1, dtype=torch.int64, device=device)
    previous = torch.zeros_like(nodes)
    past: list[Past] | None = None
    reachable = None if gone is None else prefixes.reachable(gone)
    for digit in range(len(prefixes.levels)):
        logits, past = model.next_digit(digit, previous, past, memory)
        log_p = logits.log_softmax(-1)
        log_p = log_p.masked_fill(
            ~prefixes.allowed(digit, nodes, reachable), -torch.inf
        )
        candidates = (scores[..., None] + log_p).flatten(1)
        scores, flat = candidates.topk(min(beam, candidates.shape[1]), dim=1)
        # The best come first, so what no user needs is a tail.
        width = max(1, int((scores > -torch.inf).sum(1).max()))
        scores, flat = scores[:, :width], flat[:, :width]
        parents, previous = flat // size, flat % size
        nodes = prefixes.follow(digit, nodes.gather(1, parents), previous)
        past = [layer.take(parents) for layer in past]
    rows = prefixes.row_of_leaf[nodes]
    return rows.masked_fill(scores == -torch.inf, -1), scores


def fit_autoregressive(
    sequences: Sequences,
    samples: NDArray[np.int32],
    table: SidTable,
    parameters: AutoregressiveParameters,
    training: TrainingParameters,
    max_history: int,
    seed: int,
    device: torch.device,
    label: str = "autoregressive",
    checkpoints: SnapshotFolder | None = None,
) -> tuple[AutoregressiveDecoder, Trained]:
    """Train on the denoiser's samples, in its network's shape, by its schedule.

    Args:
        sequences: all users' items.
        samples: training windows ``(S, 3)``: user, start, end.
        table: the items' SIDs.
        parameters: epochs, peak learning rate and beam.
        training: everything else, as for the denoiser.
        max_history: longest history of the network.
        seed: of weights, order and dropout.
        device: where it is trained; the model stays there.
        label: names the progress bar.
        checkpoints: where unfinished runs lie; None to keep none.

    Returns:
        The model of the best validated epoch, in evaluation mode, and its course.
    """
    torch.manual_seed(seed)  # dropout draws from the global stream only
    config = DenoiserConfig.build(
        training.network.model_copy(update=PLAIN),
        table.digits,
        table.codes_per_digit,
        max_history,
        0,
    )
    model = AutoregressiveDecoder(config)
    model.initialize(torch.Generator().manual_seed(seed + 2)).to(device)
    identities = np.zeros(sequences.n_items, dtype=np.int64)
    histories = Histories(sequences, table.codes, identities, device)
    groups = table.groups()
    prefixes = Prefixes.of(table, device)
    validation = validation_samples(
        sequences, max_history, training.validation.max_users, seed
    )

    def loss(rows: Tensor) -> Loss:
        batch = histories.gather(rows)
        memory = model.encode(batch.history, batch.lengths)
        codes = batch.targets[:, None]
        logits = model.logits(codes, torch.ones_like(codes, dtype=torch.bool), memory)
        total = F.cross_entropy(
            logits.flatten(0, 2),
            codes.flatten(),
            reduction="sum",
            label_smoothing=training.label_smoothing,
        )
        return Loss(total, torch.tensor(float(codes.numel())))

    def score() -> float:
        total = 0.0
        chosen = torch.from_numpy(validation)
        for part in by_length(chosen, training.validation.users_per_batch):
            batch = histories.gather(part)
            with torch.inference_mode():
                memory = model.encode(batch.history, batch.lengths)
                rows, _ = beam_search(model, memory, prefixes, parameters.beam)
            ndcg = m.item_metrics(
                rows.cpu().numpy(),
                groups.sid_of_item[batch.target_items.cpu().numpy()],
                groups.sizes,
                [SCORE_CUTOFF],
            )[f"ndcg_at_{SCORE_CUTOFF}"]
            total += float(ndcg.sum())
        return total / len(validation)

    decides = {
        "parameters": parameters.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_seconds"}),
        "max_history": max_history,
        "seed": seed,
        "device": str(device),
        "sequences": sequences.fingerprint,
        "sid_table": table.fingerprint,
        "samples": samples_fingerprint(samples),
    }
    trained = train(
        model,
        samples,
        loss,
        score,
        Budget(
            training.optimizer.model_copy(
                update={"learning_rate": parameters.learning_rate}
            ),
            training.validation,
            training.batch_size,
            training.samples_per_pass,
            parameters.epochs,
        ),
        seed,
        label,
        Checkpoints(checkpoints, "Autoregressive", decides, math.inf),
    )
    model.load_state_dict(trained.weights)
    return model.eval(), trained
