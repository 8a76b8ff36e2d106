"""A ladder of this project as its file says, without Hydra, which takes a while to load."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ladder.config.config_files import CONFIGS
from ladder.config.settings import LadderFile, LadderSettings
from ladder.files.reading import read, read_yaml


def plain_ladder(name: str) -> dict[str, Any]:
    """The `ladder` group as `load_config(["ladder=NAME"])` has it where the user has no `configs/` of his own.

    Raises:
        UserError: a file that cannot be read or holds what it may not.
    """
    path = CONFIGS / "ladder" / f"{name}.yaml"
    read(LadderFile, path)
    file, defaults = read_yaml(path), read_yaml(CONFIGS / "model_ladder_defaults.yaml")["ladder"]
    node = defaults | {item.name: file[item.name] for item in fields(LadderSettings) if item.name in file}
    node["recipe"] = read_yaml(CONFIGS / "recipe" / "paper.yaml") | file.get("recipe", {})
    node["fit"] = defaults["fit"] | file.get("fit", {})
    return node
