"""Nothing is loaded or stored by a format that can run code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal"}
MODULES |= {"shelve", "pickletools", "jsonpickle"}
CALLS = {"torch.load", "torch.save", "torch.jit.load", "torch.package"}
NAMES = {"read_pickle", "to_pickle", "allow_pickle", "weights_only", "eval", "exec"}


def findings(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [n.name for n in node.names if n.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            found += [module] if module in MODULES else []
            found += [n.name for n in node.names if f"{module}.{n.name}" in CALLS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS or name.split(".")[-1] in NAMES - {"eval"}:
                found.append(name)
            if name == "eval":
                found.append(name)
            found += [k.arg for k in node.keywords if k.arg in NAMES]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load('x')",
        "from torch import load",
        "np.load('x', allow_pickle=True)",
        "pd.read_pickle('x')",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert findings(source)


def test_no_module_does() -> None:
    found = {
        str(path.relative_to(ROOT)): findings(path.read_text())
        for path in (ROOT / "src").rglob("*.py")
    }
    assert found
    assert {path: names for path, names in found.items() if names} == {}


def test_no_data_set_does() -> None:
    """Each is one of ours: they store Parquet, JSON, safetensors, text and pictures."""
    for path in (ROOT / "conf").rglob("catalog*.yml"):
        for name, entry in yaml.safe_load(path.read_text()).items():
            if not name.startswith("_"):
                assert entry["type"].startswith("sidiff.datasets."), name
