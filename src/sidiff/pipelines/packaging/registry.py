"""Bundles as versions of a model in MLflow's registry, the best named champion."""

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
    from sidiff.serving.validation import ValidationUsers

logger = logging.getLogger(__name__)

CHAMPION = "champion"
UNREADABLE = (
    "champion {} cannot be opened ({}) and stays; to replace it by this version, move "
    "the alias with MlflowClient().set_registered_model_alias"
)
FINGERPRINT = "bundle"
"""Tag of a version, the fingerprint of its bundle."""
REQUIREMENTS = (
    *("fsspec", "numpy", "pandas", "polars", "pydantic", "safetensors", "scipy"),
    *("torch", "tqdm"),
)
"""Packages that the logged model needs; it contains the code of sidiff."""


def register(
    mlflow: Any,
    bundle: Bundle,
    users: ValidationUsers,
    name: str,
    bootstrap: BootstrapParameters,
) -> dict[str, Any]:
    """Log a bundle with the active run, register it, and compare with the champion.

    The bundle becomes champion if there is none, or if its NDCG is significantly higher
    than the champion's on the validation users whose target both may recommend. A
    bundle with the champion's network and other items becomes champion unless its NDCG
    is significantly lower, so that removed items leave the lists. ``bootstrap`` is of
    the interval of the difference.

    Returns:
        model, version, champion (whether it became champion), reason, users,
        ndcg_at_10; difference, low and high, null without a comparison.
    """
    from sidiff.serving import Recommender
    from sidiff.serving.validation import ndcg

    recommender = Recommender(bundle)
    scores = ndcg(recommender, users)
    with TemporaryDirectory(prefix="sidiff-") as folder:
        bundle.write(Path(folder) / "bundle")
        logged = _log(mlflow, Path(folder) / "bundle", recommender, users, name)
    number = str(logged.registered_model_version)
    report: dict[str, Any] = {
        "model": name,
        "version": number,
        "champion": True,
        "reason": "the first champion",
        "difference": None,
        "low": None,
        "high": None,
        "users": len(scores),
        "ndcg_at_10": float(scores.mean()),
    }
    client = mlflow.MlflowClient()
    last = client.get_registered_model(name).aliases.get(CHAMPION)
    if last is not None:
        fingerprint = client.get_model_version(name, last).tags.get(FINGERPRINT)
        extends = fingerprint is not None and fingerprint == bundle.about.get("extends")
        try:
            champion = _load(mlflow, name, last)
            champion_scores = ndcg(champion, users)
        except (SidiffError, OSError, mlflow.MlflowException) as error:
            report |= {"champion": False, "reason": UNREADABLE.format(last, error)}
        else:
            both = recommender.offers(users.targets) & champion.offers(users.targets)
            report |= _comparison(
                scores[both], champion_scores[both], last, extends, bootstrap
            )
    fingerprint = str(bundle.about["fingerprint"])
    client.set_model_version_tag(name, number, FINGERPRINT, fingerprint)
    if report["champion"]:
        client.set_registered_model_alias(name, CHAMPION, number)
    logger.info("Model %s, version %s: %s", name, number, report["reason"])
    return report


def _log(
    mlflow: Any,
    folder: Path,
    recommender: Recommender,
    users: ValidationUsers,
    name: str,
) -> Any:
    """Log the bundle as a model, with signature and example."""
    import pandas as pd
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    import sidiff
    from sidiff import mlflow_model
    from sidiff.serving.recommender import ListOptions

    package = Path(sidiff.__file__).parent
    history = users.histories[0].head(3).to_list()
    example = pd.DataFrame({"items": [history]})
    lists = recommender.lists([["unknown"]], ListOptions(k=1))
    inferred = infer_signature(
        example, mlflow_model.to_frame(lists), mlflow_model.PARAMETERS
    )
    # With a list of strings as its type, MLflow would truncate ids next to a null.
    anything = AnyType()  # type: ignore[no-untyped-call]
    items = Schema([ColSpec(anything, "items")])
    signature = ModelSignature(items, inferred.outputs, inferred.params)
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


def _comparison(
    scores: NDArray[Any],
    champion_scores: NDArray[Any],
    last: str,
    extends: bool,
    bootstrap: BootstrapParameters,
) -> dict[str, Any]:
    """The comparison with the champion ``last``, by the NDCG@10 of the users."""
    from sidiff.evaluation.bootstrap import bootstrap_intervals

    if not len(scores):
        reason = f"champion {last}: no validation target is in both bundles"
        return {"champion": extends, "reason": reason}
    differences = scores - champion_scores
    mean = float(differences.mean())
    interval = bootstrap_intervals(differences[:, None], bootstrap)[:, 0]
    low, high = interval.tolist()
    if extends:
        wins = high >= 0.0
        verdict = "other items, " + ("not beyond noise " if wins else "") + "worse than"
    else:
        wins = low > 0.0
        verdict = ("" if wins else "not beyond noise ") + "better than"
    return {
        "champion": wins,
        "reason": (
            f"{verdict} champion {last} on {len(scores):,} validation users, NDCG@10 "
            f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"
        ),
        "difference": mean,
        "low": low,
        "high": high,
    }


def _load(mlflow: Any, name: str, number: str) -> Recommender:
    from sidiff.serving import Recommender

    with TemporaryDirectory(prefix="sidiff-") as folder:
        mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{number}/artifacts/bundle", dst_path=folder
        )
        return Recommender.load(folder)
