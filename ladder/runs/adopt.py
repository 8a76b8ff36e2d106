"""What of a ladder's configuration may change when its runs are trained already, put into their config.yaml.

`evaluate` and `predict` read there what the ladder measures, predicts and fits. The rest of that file says how the run
was trained, and stays.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.files.reading import read_yaml
from ladder.files.writing import write_text
from ladder.runs.rundir import RunDirectory

GROUPS = ("ladder", "suite", "target")


def adopt(config: Config, run: RunDirectory) -> None:
    """Brings `ladder`, `suite` and `target` of the run's config.yaml, if it has one, to what `config` says.

    Raises:
        UserError: the file is none of ours, or cannot be written.
    """
    if not run.config_file.exists():
        return
    node = read_yaml(run.config_file)
    if not isinstance(node, dict):
        raise UserError(f"{run.config_file} must hold keys and values; python -m train writes it again")
    changed = {group for group in GROUPS if not _same(node.get(group), getattr(config, group))}
    if changed:
        node |= {group: _plain(dataclasses.asdict(getattr(config, group))) for group in changed}
        write_text(run.config_file, yaml.safe_dump(node, sort_keys=False, allow_unicode=True))


def _same(node: Any, settings: Any) -> bool:
    try:
        return bool(bind(type(settings), node, "") == settings)
    except UserError:
        return False


def _plain(value: Any) -> Any:
    """Without what is not set, whose default may be another one day."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value
