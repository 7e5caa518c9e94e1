"""Presets: partial parameters laid over the parameters of an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from kedro.config import OmegaConfigLoader

from sidiff.configuration import Preset


class PresetConfigLoader(OmegaConfigLoader):
    """Kedro's loader, which lays ``presets/`` of a folder over its parameters.

    From below: parameters and presets of ``conf/base``, those of the environment,
    ``--params``. An environment that ``extends`` another one begins with the files of
    that one.
    """

    def _read_dir_configs(
        self, conf_path: str, patterns: list[str], key: str, *args: Any
    ) -> dict[Path, Any]:
        """Parameters and presets of a folder in the order in which they are merged."""
        read = super()._read_dir_configs
        if key != "parameters":
            return dict(read(conf_path, patterns, key, *args))
        folders = [conf_path]
        extended = self._globals.get("extends")
        if extended and conf_path != self._get_conf_env_path(self.base_env):
            folders.insert(0, self._get_conf_env_path(extended))
        chosen = {**self._globals, **(self.runtime_params or {})}
        names = overlays(chosen["recipe"], chosen["preset"])
        configs: dict[Path, Any] = {}
        for layer in (patterns, *([f"presets/{name}.yml"] for name in names)):
            for folder in folders:
                configs |= read(folder, layer, key, *args)
        return configs


def overlays(recipe: str, preset: str) -> list[str]:
    """Files of ``presets/`` that apply, where they exist; later ones win.

    Each preset continues the one before it: ``release`` begins with ``paper``.
    """
    presets = get_args(Preset)
    continued = presets[: presets.index(preset) + 1]
    return [recipe, *(file for one in continued for file in (one, f"{recipe}_{one}"))]
