"""Which suite a command line asks for, and on whose data: `suite=NAME`, `suite=FILE.yaml`, `suite.key=value`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ladder.config.config import compose, group_node
from ladder.config.config_files import options
from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError, shortened
from ladder.files.bind import bind
from ladder.files.reading import read_yaml


@dataclass(frozen=True, kw_only=True)
class AskedSuite:
    """What the `key=value` words of a command say of the suite.

    One that is named is taken; else the run's own; else the default ladder's. What it refers to (`${data.directory}`)
    is the run's, unless the words name a ladder or data.
    """

    words: Sequence[str]

    @property
    def others(self) -> list[str]:
        """The words that are not of the suite."""
        return [word for word in self.words if not _of_suite(word)]

    def settings(self, run_config: Path | None) -> SuiteSettings:
        """The suite for a checkpoint of the run with that config.yaml; None: of no run.

        Raises:
            UserError: there is none of that name, a file that is none, a key or value that no suite has.
        """
        root = self._root(run_config)
        where, base = f"suite of {run_config or 'the default ladder'}", root.get("suite")
        if (named := self._named) is not None:
            where = f"suite={named}"
            base = _suite_of_file(Path(named)) if named.endswith(".yaml") else group_node("suite", named)
        changes = [word.lstrip("+").removeprefix("suite.") for word in self.words if word.lstrip("+")[:6] == "suite."]
        return _bound(root, base, changes, where)

    def changed_since(self, run_config: Path, own: SuiteSettings) -> str:
        """Says so, where the run's own suite is taken and the file of that name in `configs/` is no longer the same."""
        if self._named or own.name not in options("suite"):
            return ""
        now = _bound(self._root(run_config), group_node("suite", own.name), [], f"suite={own.name}")
        before = own.entries()
        if not (changed := [name for name, sha256 in now.entries().items() if before.get(name) != sha256]):
            return ""
        listed = shortened(", ".join(changed), 80)
        return f"suite {own.name} has changed since these runs were made ({listed}); python -m ladder run takes it"

    @property
    def _named(self) -> str | None:
        return next((word.removeprefix("suite=") for word in self.words if word.startswith("suite=")), None)

    def _root(self, run_config: Path | None) -> DictConfig:
        elsewhere = any(word.lstrip("+").startswith(("ladder=", "data=", "data.")) for word in self.others)
        if run_config is None or not run_config.exists() or (self._named and elsewhere):
            return compose(self.others)
        node = read_yaml(run_config)
        if not isinstance(node, dict):
            raise UserError(f"{run_config} must hold keys and values")
        return OmegaConf.create(node)


def own_suite(run_config: Path) -> SuiteSettings:
    """The suite that a run's config.yaml holds. Raises UserError where it holds none."""
    config = read_yaml(run_config)
    return _bound(OmegaConf.create({}), config.get("suite") if isinstance(config, dict) else None, [], str(run_config))


def _bound(root: DictConfig, base: Any, changes: Sequence[str], where: str) -> SuiteSettings:
    """`base` with `key.key=value` words put into it, as the suite of the configuration `root`."""
    if not isinstance(base, dict | DictConfig) or not base:
        raise UserError(f"{where} holds no suite; name one with suite=NAME or suite=FILE.yaml")
    try:
        OmegaConf.set_struct(root, False)
        root["suite"] = OmegaConf.merge(base, OmegaConf.from_dotlist(list(changes)))
        node = OmegaConf.to_container(root["suite"], resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{where}: {shortened(str(error), 160)}") from None
    named = node.get("name") if isinstance(node, dict) else None
    return bind(SuiteSettings, node, f"suite {shortened(named)}" if isinstance(named, str) else where)


def _suite_of_file(path: Path) -> dict[str, Any]:
    node = read_yaml(path)
    if not isinstance(node, dict):
        raise UserError(f"suite={path} must hold name: and tasks:")
    return {"name": path.stem} | node


def _of_suite(word: str) -> bool:
    """Whether the word belongs to the suite in use, which may be a run's own and not the default one."""
    return word.lstrip("+").startswith(("suite.", "suite="))
