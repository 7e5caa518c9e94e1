"""Methods to compare with, trained and ranked on the same split.

To add one: a class of ``sidiff.baselines.method.Baseline`` and its line below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidiff.registry import Registry

if TYPE_CHECKING:
    from sidiff.baselines.method import Baseline

BASELINES: Registry[type[Baseline]] = Registry(
    popularity="sidiff.baselines.counted:Popular",
    markov="sidiff.baselines.counted:Markov",
    sasrec="sidiff.baselines.sasrec:SasRecAlone",
    sasrec_markov="sidiff.baselines.sasrec:SasRecMarkov",
    autoregressive="sidiff.baselines.autoregressive_training:Autoregressive",
)
