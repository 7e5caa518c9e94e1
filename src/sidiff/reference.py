"""The method on a page: sidiff, DiffGRM and MDGR in plain Python.

Slow and literal: one user, one item, one state at a time. Only tests import it: they
compare the fast modules with it. Equations have their papers' numbers (DiffGRM: arXiv
2510.21805, MDGR: arXiv 2601.19501); symbols are those of ``docs/glossary.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import torch
from torch import Tensor

Sid = tuple[int, ...]
State = tuple[int | None, ...]
"""A partly filled semantic ID y_S with the digits S filled, None at masked digits."""

Path = tuple[State, float]
"""A state in a search, and its score s(y_S)."""

LogP = Callable[[State, int, int], float]
"""log p(y_l = c | y_S, h) of one user: from y_S, l and c."""


# Noising: which digits of a target are masked in training.


def view_sizes(digits: int, views: int) -> list[int]:
    """Masked digits of DiffGRM's nested views: |M_v| = ceil(L v / V), v = 1 .. V."""
    return [math.ceil(digits * view / views) for view in range(1, views + 1)]


def ocn(confidence: Sequence[float], sizes: Sequence[int]) -> list[set[int]]:
    """On-policy coherent noising (DiffGRM, section 4.2): M_1 c ... c M_V.

    M_v holds the first |M_v| of argsort_l max_c p(y_l = c | all masked, h).
    """
    order = sorted(range(len(confidence)), key=confidence.__getitem__)
    return [set(order[:size]) for size in sizes]


def curriculum(tau: float, digits: int, gamma: float) -> list[float]:
    """Chances of 1 .. L masked digits, the share tau of training done (MDGR).

    delta = sqrt(1 - cos^2(pi/2 (1 - tau)))^gamma                                    (8)
    s(k)  = (1 - delta) f_high(k) + delta f_low(k),  f_high = k,  f_low = L + 1 - k  (9)
    P(k)  = s(k) / sum_j s(j)                                                       (10)
    """
    delta = math.sqrt(1 - math.cos(math.pi / 2 * (1 - tau)) ** 2) ** gamma
    s = [(1 - delta) * k + delta * (digits + 1 - k) for k in range(1, digits + 1)]
    return [score / sum(s) for score in s]


def history_weights(target: Sid, history: Sequence[Sid], eps: float) -> list[float]:
    """Weight of each digit to be masked, w_l = 1 / (f_l + eps) (MDGR, Eq. 11).

    f_l is the number of history items whose code at l is the target's.
    """
    same = [[c == y for c, y in zip(item, target, strict=True)] for item in history]
    return [1 / (sum(row[d] for row in same) + eps) for d in range(len(target))]


def mask_chances(
    numbers: Sequence[float], weights: Sequence[float]
) -> dict[frozenset[int], float]:
    """Chance of every mask M: k by P(k), then k digits without replacement.

    Each by P_pos(l) = w_l / sum_j w_j over those not drawn yet (MDGR, Eq. 12).
    """
    chances: dict[frozenset[int], float] = {}
    for size, of_size in enumerate(numbers, start=1):
        for drawn in permutations(range(len(weights)), size):
            chance, left = of_size, sum(weights)
            for digit in drawn:
                chance *= weights[digit] / left
                left -= weights[digit]
            mask = frozenset(drawn)
            chances[mask] = chances.get(mask, 0.0) + chance
    return chances


# Objective: the loss of masked digits.


def cross_entropy(logits: Sequence[float], code: int, smoothing: float) -> float:
    """- sum_c t(c) log p(c),  t(c) = (1 - smoothing) [c = code] + smoothing / K."""
    log_z = math.log(sum(map(math.exp, logits)))
    t = [
        (1 - smoothing) * (c == code) + smoothing / len(logits)
        for c in range(len(logits))
    ]
    return -sum(share * (logit - log_z) for share, logit in zip(t, logits, strict=True))


def denoising_loss(
    logits: Tensor, codes: Tensor, masked: Tensor, smoothing: float, reduction: str
) -> float:
    """Loss of samples ``(B, L)`` in views ``(B, V, L)``, logits ``(B, V, L, K)``.

    per_view  mean over v of 1/|M_v| sum_{l in M_v} -log p(y_l | y_{not M_v}, h)   L_OCN
    sum       mean over v of sum_{l in M_v} -log p(y_l | y_{not M_v}, h)   MDGR, Eq. 15
    pooled    mean over all masked digits of the batch                 DiffGRM's release
    """
    views: list[list[float]] = [[] for _ in range(masked.shape[0] * masked.shape[1])]
    for sample, view, digit in masked.nonzero().tolist():
        loss = cross_entropy(
            logits[sample, view, digit].tolist(), int(codes[sample, digit]), smoothing
        )
        views[sample * masked.shape[1] + view].append(loss)
    if reduction == "pooled":
        return sum(map(sum, views)) / sum(map(len, views))
    if reduction == "sum":
        return sum(map(sum, views)) / len(views)
    return sum(sum(view) / len(view) for view in views) / len(views)


# Posterior: one energy for whole items, of which digits are marginals (sidiff).

Energies = Sequence[float]
"""E(i; y_S, h) of every item i."""


def agrees(sid: State, state: State) -> bool:
    """Agreement of a semantic ID with the codes that a state has filled in."""
    return all(y is None or y == c for c, y in zip(sid, state, strict=True))


def energy(
    sid: Sid, state: State, queries: Tensor, vectors: Tensor, user: Tensor, own: Tensor
) -> float:
    """E(i; y_S, h) = sum over masked l of q_l(y_S, h) . e_l[y_l(i)]  +  u(h) . r_i.

    The gate gamma(h) is added where the item is in the history. From y(i), y_S,
    q ``(L, d)``, e ``(L, K, d)``, u ``(d,)`` and r_i ``(d,)``.
    """
    digits = [queries[d] @ vectors[d, sid[d]] for d in open_digits(state)]
    return float(user @ own) + sum(map(float, digits))


def posterior(energies: Energies, sids: Sequence[Sid], state: State) -> list[float]:
    """pi(i | y_S, h) = exp E(i) / sum over the j that agree with y_S of exp E(j)."""
    pairs = zip(energies, sids, strict=True)
    mass = [math.exp(one) if agrees(sid, state) else 0.0 for one, sid in pairs]
    return [one / sum(mass) for one in mass]


def marginals(pi: Sequence[float], sids: Sequence[Sid], codes: int) -> Tensor:
    """p(y_l = c | y_S, h) = sum over the i with y_l(i) = c of pi(i), ``(L, K)``."""
    p = torch.zeros(len(sids[0]), codes, dtype=torch.float64)
    for share, sid in zip(pi, sids, strict=True):
        p[range(len(sid)), sid] += share
    return p


def joint_loss(
    positions: Sequence[tuple[Energies, int]],
    partial: Sequence[tuple[Energies, State, int]],
    sids: Sequence[Sid],
    weight: float,
) -> float:
    """Loss of the joint denoiser, i* the target.

    mean over positions of      - log pi(i* | all masked, h)
    + weight * mean over partial views of  - log pi(i* | y_S, h)

    Args:
        positions: energies with all digits masked, and target, of each.
        partial: energies at a partial state, the state, and target, of each view.
        sids: of the items.
        weight: ``partial_weight``.
    """
    masked: State = (None,) * len(sids[0])
    loss = 0.0
    for energies, target in positions:
        loss -= math.log(posterior(energies, sids, masked)[target]) / len(positions)
    for energies, state, target in partial:
        own = math.log(posterior(energies, sids, state)[target])
        loss -= weight * own / len(partial)
    return loss


def transitions(
    history: Sequence[int],
    counts: Sequence[Sequence[float]],
    last: int,
    decay: float,
    successors: int,
) -> list[float]:
    """q(i | h) ~ sum over the last items of h, of age a: decay^a n(h_a -> i) / n(h_a).

    It sums to 1, or to 0 where nothing ever followed. A history has its oldest item
    first. ``counts[j][i]`` is n(j -> i); only each j's largest ``successors`` are read.
    """
    q = [0.0] * len(counts)
    for age, before in enumerate(list(reversed(history))[:last]):
        row = counts[before]
        total = sum(row) or 1.0
        for item in sorted(range(len(row)), key=lambda i: -row[i])[:successors]:
            q[item] += decay**age * row[item] / total
    total = sum(q) or 1.0
    return [share / total for share in q]


def with_transitions(
    energies: Energies, q: Sequence[float], weight: float, scale: float
) -> list[float]:
    """E'(i; h) = E(i; all masked, h) + weight log(1 + q(i | h) / scale)."""
    return [
        energy + weight * math.log(1 + share / scale)
        for energy, share in zip(energies, q, strict=True)
    ]


# Search: semantic IDs filled digit by digit.


def open_digits(state: State) -> list[int]:
    """The masked digits of a state."""
    return [digit for digit, code in enumerate(state) if code is None]


@dataclass(frozen=True)
class Search:
    """A search for one user's semantic IDs.

    Attributes:
        log_p: of the network.
        digits: L.
        codes: K.
        beam: A, paths kept after every step.
        merge: keep a state once, with its best score (sidiff).
        sids: existing ones, to one of which each step must lead (sidiff); None: any.
    """

    log_p: LogP
    digits: int
    codes: int
    beam: int
    merge: bool = False
    sids: Collection[Sid] | None = None

    def start(self) -> list[Path]:
        """One path of score 0, all digits masked."""
        return [((None,) * self.digits, 0.0)]

    def fill(self, path: Path, digits: Sequence[int]) -> list[Path]:
        """All ways to fill some digits, s(y_S) + sum of log p(y_l = c_l | y_S, h)."""
        state, score = path
        children = []
        for codes in product(range(self.codes), repeat=len(digits)):
            filled = dict(zip(digits, codes, strict=True))
            child = tuple(filled.get(d, code) for d, code in enumerate(state))
            if self.sids is None or any(agrees(sid, child) for sid in self.sids):
                gain = sum(self.log_p(state, d, code) for d, code in filled.items())
                children.append((child, score + gain))
        return children

    def fill_any(self, path: Path) -> list[Path]:
        """All ways to fill one digit, whichever is open."""
        return [child for d in open_digits(path[0]) for child in self.fill(path, [d])]

    def keep(self, children: list[Path]) -> list[Path]:
        """The best A children."""
        children = sorted(children, key=lambda child: -child[1])
        if self.merge:
            best: dict[State, float] = {}
            for state, score in children:
                best.setdefault(state, score)
            children = list(best.items())
        return children[: self.beam]

    def most_confident(self, state: State, count: int) -> list[int]:
        """The most confident open digits (MDGR, Eqs. 18-19).

        conf(l) = max_c log p(y_l = c | y_S, h).
        """
        conf = {
            digit: max(score for _, score in self.fill((state, 0.0), [digit]))
            for digit in open_digits(state)
        }
        return sorted(conf, key=lambda digit: -conf[digit])[:count]


def cpd(
    search: Search, order: Sequence[int | None] | None = None, *, greedy: bool = False
) -> list[Path]:
    """Confidence-guided parallel denoising (DiffGRM, Eqs. 8-10).

    s(y_S, l, c) = s(y_S) + log p(y_l = c | y_S, h), the best A of all triples, L times.

    Args:
        search: for one user.
        order: digit of each step, None where it may be any open one; None: L of these.
        greedy: each path takes its own best last code (DiffGRM's release).
    """
    paths = search.start()
    for digit in [None] * search.digits if order is None else order:
        children = []
        for path in paths:
            own = search.fill_any(path) if digit is None else search.fill(path, [digit])
            if greedy and len(open_digits(path[0])) == 1:
                own = [max(own, key=lambda child: child[1])]
            children += own
        paths = search.keep(children)
    return paths


def two_stage(search: Search, warmup: int, together: int) -> list[Path]:
    """Several digits at once after a warm-up (MDGR, section 4.4).

    At step r each path fills its own m_r most confident digits (Eq. 19) with all codes
    (20-22) and the best A of all paths go on (23); m_r = 1 for r < W, then m (16).
    """
    paths, step = search.start(), 0
    while open_digits(paths[0][0]):
        count = 1 if step < warmup else together
        children = []
        for path in paths:
            children += search.fill(path, search.most_confident(path[0], count))
        paths, step = search.keep(children), step + 1
    return paths


def path_score(log_p: LogP, sid: Sid, steps: Sequence[Sequence[int]]) -> float:
    """Score of a semantic ID, of which each step fills some digits by one call."""
    state: State = (None,) * len(sid)
    score = 0.0
    for digits in steps:
        score += sum(log_p(state, digit, sid[digit]) for digit in digits)
        state = tuple(sid[d] if d in digits else code for d, code in enumerate(state))
    return score


def best_order(log_p: LogP, sid: Sid) -> float:
    """Score by the best order of digits: that of CPD where A holds everything."""
    orders = permutations(range(len(sid)))
    return max(path_score(log_p, sid, [[d] for d in order]) for order in orders)
