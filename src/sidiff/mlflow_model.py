"""A bundle as an MLflow model: rows of histories to rows of lists.

MLflow stores this file with the model and runs it to load the model, so nothing is
pickled.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from sidiff.devices import cpu_threads
from sidiff.errors import SidiffError
from sidiff.serving import Recommender
from sidiff.serving.lists import UserList
from sidiff.serving.recommender import ListOptions

BUNDLE = "bundle"
"""Name of the artefact."""
PARAMETERS: dict[str, Any] = {"k": 10, "exclude_seen": True, "decoder": ""}
"""Options of ``Recommender.recommend``; decoder "" is that of the evaluation."""


class BundleModel(PythonModel):
    """A recommender with MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Open the bundle."""
        self.recommender = Recommender.load(context.artifacts[BUNDLE])

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """The lists of the histories in column ``items``, item ids oldest first.

        Returns:
            Rows of item_ids, scores, semantic_ids (lists, best first), method, unknown
            (ids outside the catalogue).
        """
        given = PARAMETERS | (params or {})
        options = ListOptions(
            k=int(given["k"]),
            exclude_seen=bool(given["exclude_seen"]),
            decoder=given["decoder"] or None,
        )
        # One thread as in the evaluation: the number decides the last bit of scores.
        try:
            with cpu_threads(1):
                lists = self.recommender.lists(model_input["items"].to_list(), options)
        except SidiffError as error:
            # MLflow's server answers 400 to this error, and 500 to all others.
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from error
        return to_frame(lists)


def to_frame(lists: list[UserList]) -> pd.DataFrame:
    """Lists as the output of the model."""
    return pd.DataFrame(
        [
            {
                "item_ids": [item.item_id for item in one],
                "scores": [item.score for item in one],
                "semantic_ids": [item.semantic_id for item in one],
                "method": one.method,
                "unknown": list(one.unknown),
            }
            for one in lists
        ]
    )


mlflow.models.set_model(BundleModel())
