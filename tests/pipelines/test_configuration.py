from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession

from sidiff.configuration import Configuration
from sidiff.errors import SidiffError
from sidiff.parameters import Parameters
from sidiff.pipelines.sample_data.nodes import generate_sample_shop
from sidiff.reviews.settings import SampleDataParameters


def load(
    project: Path, env: str | None = None, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The parameters of a session as its context has checked them."""
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        checked = session.load_context().params
    return {
        name: value.model_dump() if isinstance(value, Parameters) else value
        for name, value in checked.items()
    }


@pytest.mark.parametrize(
    "env",
    [
        *("local", "beauty", "beauty_cpu", "beauty_study", "beauty_release"),
        *("mdgr_study", "mdgr_release", "diffgrm_study"),
        *("sports", "toys", "electronics", "books", "own", "prod"),
    ],
)
@pytest.mark.parametrize("preset", ["sidiff", "paper", "release"])
@pytest.mark.parametrize("recipe", ["diffgrm", "mdgr"])
def test_every_environment_is_complete(
    project: Path,
    env: str,
    preset: str,
    recipe: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIDIFF_STORAGE", "memory:///bucket")
    parameters = load(project, env, {"preset": preset, "recipe": recipe})
    assert set(Configuration.model_fields) <= parameters.keys()
    assert (parameters["preset"], parameters["recipe"]) == (preset, recipe)
    assert parameters["dataset"] == {"local": "sample", "prod": "shop"}.get(env, env)
    training, evaluation = parameters["training"], parameters["evaluation"]
    noising = training["noising"]
    own = preset == "sidiff"
    assert training["network"]["posterior"] == ("items" if own else "digits")
    if recipe == "mdgr":
        assert parameters["tokenization"]["digits"] == 8
        assert (noising["amount"], noising["order"]) == ("curriculum", "history")
        search = "two_stage"
        assert training["loss_reduction"] == "sum"
        assert training["label_smoothing"] == 0.0
        assert training["network"]["mask"] == "shared"
        assert training["network"]["difficulty_embedding"]
    else:
        assert parameters["tokenization"]["digits"] == 4
        assert (noising["amount"], noising["order"]) == ("nested", "confidence")
        search = "cpd"
    assert evaluation["method"] == ("items_markov" if own else search)
    assert training["validation"]["method"] == ("items" if own else search)


@pytest.mark.parametrize("recipe", ["diffgrm", "mdgr"])
def test_the_study_of_the_posterior_is_of_networks_that_have_one(
    project: Path, recipe: str
) -> None:
    parameters = load(project, "posterior_study", {"recipe": recipe})
    assert "no_partial" in parameters["ablation"]["variants"]
    with pytest.raises(SidiffError, match="items needs"):
        load(project, "posterior_study", {"recipe": recipe, "preset": "paper"})


def test_mdgr_as_published(project: Path) -> None:
    """The values of its sections 4.3, 4.4, 5.1.1 and 5.1.3."""
    given = load(project, None, {"recipe": "mdgr", "preset": "paper"})
    network, noising = given["training"]["network"], given["training"]["noising"]
    assert (network["d_model"], network["heads"], network["encoder_layers"]) == (
        256,
        8,
        6,
    )
    assert network["history_tokens"] == "codes"
    assert noising["views"] == 1
    assert (given["filtering"]["windows"], given["filtering"]["max_history"]) == (
        *("sliding", 20),
    )
    search = given["evaluation"]["decoding"]
    stages = search["parallel"]["warmup_steps"], search["parallel"]["digits_per_step"]
    assert (*stages, search["beam"]) == (4, 2, 50)
    assert given["evaluation"]["method"] == "two_stage"
    assert search["constraint"] == "none"
    assert search["merge"] == "none"
    assert given["tokenization"]["collisions"] == "share"
    assert network["posterior"] == "digits"
    filtering, tokenization = given["filtering"], given["tokenization"]
    assert (filtering["min_user_interactions"], filtering["min_item_interactions"]) == (
        5,
        1,
    )
    assert (tokenization["digits"], tokenization["max_codebook_size"]) == (8, 300)


def test_a_network_of_the_papers_size_for_each_recipe(project: Path) -> None:
    for recipe, heads, depth in (("diffgrm", 4, 1), ("mdgr", 8, 6)):
        given = {"recipe": recipe, "preset": "paper"}
        network = load(project, "beauty", given)["training"]["network"]
        assert (network["d_model"], network["heads"]) == (256, heads)
        assert network["encoder_layers"] == depth


def test_null_leaves_out_what_an_environment_inherits(project: Path) -> None:
    parameters = load(project, "mdgr_study")
    variants = parameters["ablation"]["variants"]
    assert next(iter(variants)) == "full"
    assert not {"ocn", "mdgr", "random"} & variants.keys()
    assert "two_stage" not in parameters["evaluation"]["decoders"]


def test_one_value_on_top_of_a_recipe(project: Path) -> None:
    given = {"recipe": "mdgr", "tokenization": {"digits": 4}}
    assert load(project, "beauty", given)["tokenization"]["digits"] == 4


@pytest.mark.parametrize(
    ("preset", "windows", "reduction", "probe", "last_step", "merge", "fields"),
    [
        ("sidiff", "sliding", "per_view", "projected", "joint", "max", 5),
        ("paper", "all", "per_view", "projected", "joint", "none", 5),
        ("release", "prefix", "pooled", "raw", "greedy", "none", 6),
    ],
)
def test_presets(
    project: Path,
    preset: str,
    windows: str,
    reduction: str,
    probe: str,
    last_step: str,
    merge: str,
    fields: int,
) -> None:
    parameters = load(project, "beauty", {"preset": preset})
    training, decoding = parameters["training"], parameters["evaluation"]["decoding"]
    assert parameters["filtering"]["windows"] == windows
    assert len(parameters["embedding"]["text"]) == fields
    assert training["loss_reduction"] == reduction
    assert training["noising"]["probe_kv"] == probe
    assert decoding["last_step"] == last_step
    assert decoding["merge"] == merge
    epochs = {"sidiff": 12, "paper": 100, "release": 200}
    assert training["epochs"] == epochs[preset]
    assert training["label_smoothing"] == (0.2 if preset == "release" else 0.1)


def test_one_value_on_top_of_a_preset(project: Path) -> None:
    given = {"preset": "release", "training": {"loss_reduction": "per_view"}}
    for env in (None, "beauty"):
        training = load(project, env, given)["training"]
        assert training["loss_reduction"] == "per_view"
        assert training["noising"]["probe_kv"] == "raw"


@pytest.mark.parametrize("env", ["electronics", "books"])
def test_mdgr_s_data_sets_have_its_protocol(project: Path, env: str) -> None:
    parameters = load(project, env)
    assert (parameters["recipe"], parameters["preset"]) == ("mdgr", "paper")
    filtering, tokenization = parameters["filtering"], parameters["tokenization"]
    assert (filtering["min_user_interactions"], filtering["min_item_interactions"]) == (
        5,
        1,
    )
    assert (filtering["windows"], filtering["max_history"]) == ("sliding", 20)
    assert tokenization["digits"] == 8
    assert (tokenization["codebook_size"], tokenization["max_codebook_size"]) == (
        "auto",
        300,
    )
    assert tokenization["collisions"] == "share"


def test_an_environment_overlays_single_values(project: Path) -> None:
    toys, base = (load(project, env)["training"] for env in ("toys", None))
    assert (toys["network"]["d_model"], toys["network"]["heads"]) == (1024, 8)
    assert toys["optimizer"]["learning_rate"] == 0.0015
    assert toys["validation"]["first_epoch"] == 2
    published = load(project, "toys", {"preset": "paper"})["training"]
    assert published["optimizer"]["learning_rate"] == 0.003
    assert published["validation"]["first_epoch"] == 10
    assert toys["noising"] == base["noising"]
    assert toys["network"]["dropout"] == base["network"]["dropout"]


def made(project: Path, env: str | None, params: dict[str, Any] | None) -> int:
    """Raw files that the generator makes in a run with this configuration."""
    parameters = load(project, env, params)
    shop = SampleDataParameters(users=50, items=60, seed=1)
    return sum(map(bool, generate_sample_shop(shop, parameters["source"])))


def test_the_shop_is_made_where_no_raw_files_are_named(project: Path) -> None:
    own = {"raw_reviews": "r.gz", "raw_metadata": "m.gz"}
    # One process, one session after the other: the choice is made anew each time.
    assert made(project, None, None) == 2
    assert made(project, "beauty", None) == 0
    assert made(project, None, own) == 0
    assert made(project, None, None) == 2


def test_the_source_follows_from_what_is_named(project: Path) -> None:
    for given in ({"source": "sample"}, {"source": "files"}):
        with pytest.raises(SidiffError, match="no parameter source"):
            load(project, "beauty", given)


def test_paths_of_own_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    own = {"raw_reviews": "~/r.gz", "raw_metadata": "in/m.gz"}
    with KedroSession.create(project, runtime_params=own) as session:
        catalog = session.load_context().catalog
        assert "/home/somebody/r.gz" in str(catalog["raw_reviews"])
        assert str(project / "in" / "m.gz") in str(catalog["raw_metadata"])


def test_addresses_of_own_files_stay_as_they_are(project: Path) -> None:
    own = {"raw_reviews": "s3://b/log/*.csv", "raw_metadata": "memory://m.csv"}
    with KedroSession.create(project, runtime_params=own) as session:
        catalog = session.load_context().catalog
        assert "'s3://b/log/*.csv'" in str(catalog["raw_reviews"])
        assert "'memory://m.csv'" in str(catalog["raw_metadata"])
