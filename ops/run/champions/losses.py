"""Which models write down what they lose, and where."""

from __future__ import annotations

import shutil
from pathlib import Path

from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.config import Config
from thalweg.ops.run.successors import aliases_folder
from thalweg.stream.comparison.loss_log import FileLosses

_FOLDER = "losses"


def losses_of(config: Config, model: str) -> FileLosses | None:
    """Where a model's losses go; None if no alias compares it. What is left of another comparison is deleted."""
    alias = next((one for one in config.alias if one.promotion == "auto" and model in one.members), None)
    folder = Path(config.service.state_dir) / model / _FOLDER
    for other in folder.iterdir() if folder.exists() else ():
        if alias is None or other.name != alias.loss:
            shutil.rmtree(other, ignore_errors=True)
    return None if alias is None else FileLosses(losses_folder(config, alias, model), alias.loss)


def losses_folder(config: Config, alias: AliasConfig, model: str) -> Path:
    """The folder of a model's losses, as this alias compares them."""
    return Path(config.service.state_dir) / model / _FOLDER / alias.loss


def comparison_path(config: Config, alias: str) -> Path:
    """The file of an alias's comparison."""
    return aliases_folder(config) / f"{alias}.comparison.json"
