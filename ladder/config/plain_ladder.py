"""A ladder of this project as its file says, without Hydra, which takes a while to load."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ladder.config.config_files import CONFIGS
from ladder.config.settings import LadderSettings
from ladder.files.reading import read_yaml


def plain_ladder(name: str) -> dict[str, Any]:
    """The `ladder` group as `load_config(["ladder=NAME"])` has it where the user has no `configs/` of his own.

    Raises UserError for a file that cannot be read.
    """
    file = read_yaml(CONFIGS / "ladder" / f"{name}.yaml")
    defaults = read_yaml(CONFIGS / "model_ladder_defaults.yaml")["ladder"]
    node = defaults | {item.name: file[item.name] for item in fields(LadderSettings) if item.name in file}
    node["recipe"] = read_yaml(CONFIGS / "recipe" / "paper.yaml") | file.get("recipe", {})
    node["fit"] = defaults["fit"] | file.get("fit", {})
    return node
