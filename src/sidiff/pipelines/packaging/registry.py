"""Bundles in MLflow's registry: each a version, the best one called champion."""

# Every Kedro command imports this package; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sidiff.errors import SidiffError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.evaluation.settings import BootstrapParameters
    from sidiff.serving import Bundle, Recommender
    from sidiff.serving.validation import Asked

logger = logging.getLogger(__name__)

CHAMPION = "champion"
UNREADABLE = (
    "champion {} stays, which cannot be opened ({}); to put this version in its place, "
    "move the alias by hand (MlflowClient().set_registered_model_alias)"
)
FINGERPRINT = "bundle"
"""Tag of a version: the fingerprint of its bundle."""
REQUIREMENTS = (
    *("fsspec", "numpy", "pandas", "polars", "pydantic", "safetensors", "scipy"),
    *("torch", "tqdm"),
)
"""Packages that a bundle needs beside sidiff's own code, which goes with the model."""


def register(
    mlflow: Any,
    bundle: Bundle,
    asked: Asked,
    name: str,
    bootstrap: BootstrapParameters,
) -> dict[str, Any]:
    """Log a bundle with the active run, register it, and compare with the champion.

    The alias moves where there is no champion yet, or where the new bundle ranks
    validation users better than it by more than noise. Users count whose next item both
    may recommend. Where the new bundle is the champion with other items it moves unless
    that ranks worse by more than noise: what is sold out must leave the shop.

    Args:
        mlflow: the module, with an active run.
        bundle: read from where it was stored.
        asked: validation users.
        name: of the registered model.
        bootstrap: of the interval that decides.

    Returns:
        model, version, champion (whether it is now), reason, users, ndcg_at_10; and of
        the comparison difference, low and high, null without one.
    """
    from sidiff.serving import Recommender
    from sidiff.serving.validation import ndcg

    recommender = Recommender(bundle)
    own = ndcg(recommender, asked)
    with TemporaryDirectory(prefix="sidiff-") as folder:
        bundle.write(Path(folder) / "bundle")
        logged = _log(mlflow, Path(folder) / "bundle", recommender, asked, name)
    number = str(logged.registered_model_version)
    told: dict[str, Any] = {
        **{"model": name, "version": number, "champion": True},
        **{"reason": "the first champion", "difference": None, "low": None},
        **{"high": None, "users": len(own), "ndcg_at_10": float(own.mean())},
    }
    client = mlflow.MlflowClient()
    last = client.get_registered_model(name).aliases.get(CHAMPION)
    if last is not None:
        noted = client.get_model_version(name, last).tags.get(FINGERPRINT)
        extends = noted is not None and noted == bundle.about.get("extends")
        try:
            champion = _load(mlflow, name, last)
            theirs = ndcg(champion, asked)
        except (SidiffError, OSError, mlflow.MlflowException) as error:
            told |= {"champion": False, "reason": UNREADABLE.format(last, error)}
        else:
            both = recommender.offers(asked.targets) & champion.offers(asked.targets)
            told |= _compared(own[both], theirs[both], last, extends, bootstrap)
    fingerprint = str(bundle.about["fingerprint"])
    client.set_model_version_tag(name, number, FINGERPRINT, fingerprint)
    if told["champion"]:
        client.set_registered_model_alias(name, CHAMPION, number)
    logger.info("Model %s, version %s: %s", name, number, told["reason"])
    return told


def _log(
    mlflow: Any, folder: Path, recommender: Recommender, asked: Asked, name: str
) -> Any:
    import pandas as pd
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    import sidiff
    from sidiff import mlflow_model

    package = Path(sidiff.__file__).parent
    some = asked.histories[0].head(3).to_list()
    example = pd.DataFrame({"items": [some]})
    lists = mlflow_model.to_frame(recommender.lists([["unknown"]], 1))
    told = infer_signature(example, lists, mlflow_model.PARAMETERS)
    # As a list of texts MLflow would cut ids short where a null stands among them.
    anything = AnyType()  # type: ignore[no-untyped-call]
    items = Schema([ColSpec(anything, "items")])
    signature = ModelSignature(items, told.outputs, told.params)
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(package / "mlflow_model.py"),
        artifacts={mlflow_model.BUNDLE: str(folder)},
        code_paths=[str(package)],
        signature=signature,
        input_example=example,
        pip_requirements=[f"{part}=={version(part)}" for part in REQUIREMENTS],
        registered_model_name=name,
    )


def _compared(
    own: NDArray[Any],
    theirs: NDArray[Any],
    last: str,
    extends: bool,
    bootstrap: BootstrapParameters,
) -> dict[str, Any]:
    """What the NDCG@10 of a bundle and of the champion ``last`` says, user by user."""
    from sidiff.serving.validation import Difference

    if not len(own):
        reason = f"champion {last}: no validation user's next item is in both"
        return {"champion": extends, "reason": reason}
    found = Difference.between(own, theirs, bootstrap)
    if extends:
        wins, verdict = found.high >= 0.0, "other items, {}worse than"
    else:
        wins, verdict = found.low > 0.0, "{}better than"
    verdict = verdict.format("" if wins != extends else "not beyond noise ")
    return {
        "champion": wins,
        "reason": (
            f"{verdict} champion {last} on {len(own):,} validation users, NDCG@10 "
            f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        ),
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
    }


def _load(mlflow: Any, name: str, number: str) -> Recommender:
    from sidiff.serving import Recommender

    with TemporaryDirectory(prefix="sidiff-") as folder:
        mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{number}/artifacts/bundle", dst_path=folder
        )
        return Recommender.load(folder)
