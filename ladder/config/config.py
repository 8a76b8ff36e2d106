"""Hydra's Compose API behind every command line: `key=value` words in, checked settings out."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ladder.config.config_files import (
    CONFIGS,
    DEFAULT_LADDER,
    GROUPS,
    ROOT_CONFIG,
    config_files,
    config_folders,
    file_of,
    is_file,
    options,
)
from ladder.config.settings import Config, LadderFile, check_sizes
from ladder.errors import UserError, shortened, unknown
from ladder.files.bind import bind
from ladder.files.reading import read, read_text, read_yaml
from ladder.files.writing import write_text
from ladder.rungs.rung import Ladder, parse_run_name

UNREADABLE = (HydraException, OmegaConfBaseException, YAMLError, ValueError)  # what Hydra raises on words and files
NAMED_BY_LADDER = ("data", "suite", "cluster", "target")
# Those of configs/model_ladder*.yaml.
DEFAULTS = {"ladder": DEFAULT_LADDER, "suite": "olmes", "cluster": "local", "recipe": "paper"}

LEAVING_OUT = ("data.", "suite.")  # groups whose files need not have every key; what is unknown is refused later

# Hydra's grammar has no keys like 600M or 1.3B, so `ladder.sizes.600M={…}` becomes `++ladder.sizes={600M: {…}}`.
_SIZE_OVERRIDE = re.compile(
    r"\+{0,2}(?P<node>ladder\.(?:larger_)?sizes|cluster\.gpus)"
    r"(?:\.(?P<size>\d.*?)(?:\.(?P<key>d_model|n_layers|n_heads|ffn_hidden))?)?=(?P<value>.*)"
)


GIVEN = "given"  # what a file that is named by its path is called while Hydra reads it
_given_folder: ContextVar[Path | None] = ContextVar("_given_folder", default=None)


class OwnConfigs(SearchPathPlugin):
    """Has Hydra look into the user's folder first too, and before it at the files that are named by their paths."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        given = _given_folder.get()
        for folder in [*config_folders()[-2::-1], *([given] if given else [])]:
            search_path.prepend("own", f"file://{folder}", anchor="main")


def load_config(overrides: Sequence[str] = ()) -> Config:
    """The checked configuration.

    Raises:
        UserError: an unknown group option, key or a malformed override, with the nearest known name; a file of
            `configs/` that cannot be read; a value of the wrong type or out of range.
    """
    return config_of(compose(overrides))


def config_of(node: DictConfig) -> Config:
    """Raises UserError for a key too many or too few, and for a value of the wrong type or out of range."""
    config = bind(Config, OmegaConf.to_container(node, resolve=True), "")
    if isinstance(config.cluster.gpus, dict):
        check_sizes(config, sizes_of_all_ladders())
    return config


def sizes_of_all_ladders() -> set[str]:
    """A cluster's file may have numbers for the sizes of several ladders; files that cannot be read are passed over."""
    sizes: set[str] = set()
    for path in config_files("ladder").values():
        with contextlib.suppress(UserError):
            node = read_yaml(path)
            groups = [node.get(key) for key in ("sizes", "larger_sizes")] if isinstance(node, dict) else []
            sizes |= {str(size) for group in groups if isinstance(group, dict) for size in group}
    return sizes


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration as Hydra composes it, its values unchecked. Raises UserError as `load_config`."""
    if theirs := [word for word in overrides if re.match(r"[+~]*hydra(@|\.|=|$)", word)]:
        raise UserError(f"{shortened(theirs[0])} is a setting of Hydra's, which has no effect here")
    words = _whole_target(overrides)
    words = [*_named_by_ladder(words), *words]
    for group, name in _choices(words).items():
        path = file_of(group, name)
        if not isinstance(node := read_yaml(path), dict) or not node:
            raise UserError(f"{path} must hold keys and values")
    try:
        return _compose(words)
    except UNREADABLE as error:
        raise _explain(error, words) from None
    except RecursionError:
        raise UserError("a value on the command line is nested too deeply") from None


def _choices(words: Sequence[str]) -> dict[str, str]:
    """The option of each group: of `words` the last, else the default. Raises UserError for one that is not there."""
    chosen = dict(DEFAULTS)
    for word in words:
        if (key := word.partition("=")[0].lstrip("~")) in GROUPS and word.startswith("~"):
            raise UserError(f"{shortened(word)}: a configuration always has a {key}; choose another with {key}=NAME")
    for key, _, value in (word.partition("=") for word in words):
        if key.lstrip("+") in GROUPS:
            file_of(key.lstrip("+"), value)
            chosen[key.lstrip("+")] = value
    return chosen


def _named_by_ladder(words: Sequence[str]) -> list[str]:
    """The data, suite, cluster and target that the ladder's file names and `words` do not."""
    keys = {word.partition("=")[0].lstrip("+") for word in words}
    for group in NAMED_BY_LADDER:
        if f"ladder.{group}" in keys:
            raise UserError(f"ladder.{group} is only for a ladder's file; on the command line it is {group}=NAME")
    name = _choices([word for word in words if word.startswith("ladder=")])["ladder"]
    path = file_of("ladder", name)
    file = read(LadderFile, path)
    if any(key.startswith("target.") for key in keys):
        keys.add("target")
    named = {group: getattr(file, group) for group in NAMED_BY_LADDER if getattr(file, group) and group not in keys}
    chosen = _whole_target([f"{group}={value}" for group, value in named.items()])
    for group, value in named.items():
        if f"{group}={value}" in chosen:
            try:
                file_of(group, value)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
    return chosen


def names_suite(words: Sequence[str]) -> bool:
    """Whether the ladder's file or the words say which suite is measured. Raises UserError as `load_config`."""
    keys = (word.partition("=")[0].lstrip("+~") for word in (*_named_by_ladder(words), *words))
    return any(key == "suite" or key.startswith("suite.") for key in keys)


def _whole_target(words: Sequence[str]) -> list[str]:
    """`target=3B-10xC`, a run of the ladder, as the words that Hydra knows.

    N of one model and D of another, or both under a third one's name, would be predicted without a word: a target of
    one's own has all three.
    """
    keys = {word.partition("=")[0].lstrip("+") for word in words}
    whole = {"target.name", "target.n", "target.d"}
    if {"target.n", "target.d"} & keys and (missing := sorted(whole - keys)):
        raise UserError(f"{', '.join(missing)} is missing: a target of your own has all of target.name, .n and .d")
    changed: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        alone = key == "target.name" and not whole <= keys
        if (key == "target" or alone) and value not in options("target") and (parse_run_name(value) or alone):
            changed += [f"target.name={value}", "target.n=null", "target.d=null"]
        else:
            changed.append(f"target={value}" if alone else word)
    return changed


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    Plugins.instance().register(OwnConfigs)
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
        yield


@contextlib.contextmanager
def _given(words: Sequence[str]) -> Iterator[list[str]]:
    """The words, with names in place of the paths of files, which Hydra finds by them meanwhile."""
    pairs = [word.partition("=")[::2] for word in words]
    files = {key: Path(value) for key, value in pairs if key.lstrip("+") in GROUPS and is_file(value)}
    if not files:
        yield list(words)
        return
    with tempfile.TemporaryDirectory() as folder:
        for key, path in files.items():
            write_text(Path(folder, key.lstrip("+"), f"{GIVEN}.yaml"), read_text(path))
        token = _given_folder.set(Path(folder))
        try:
            yield [f"{key}={GIVEN}" if key in files else word for word, (key, _) in zip(words, pairs, strict=True)]
        finally:
            _given_folder.reset(token)


def _compose(words: Sequence[str]) -> DictConfig:
    with _given(words) as words, _hydra():
        config = hydra_compose(ROOT_CONFIG, overrides=[_for_hydra(word) for word in words])
        OmegaConf.resolve(config)
    OmegaConf.set_struct(config.ladder, False)
    for group in NAMED_BY_LADDER:  # they have been followed
        config.ladder.pop(group, None)
    OmegaConf.set_struct(config.ladder, True)
    return config


def group_node(group: str, name: str) -> DictConfig:
    """A file of `configs/` with its defaults, in which references to other groups are not yet followed.

    Raises:
        UserError: there is none of that name, or it cannot be read.
    """
    if name not in (files := config_files(group)):
        raise unknown(group, name, files)
    try:
        with _hydra():
            node = hydra_compose(f"{group}/{name}").get(group)
    except UNREADABLE as error:
        raise UserError(f"{files[name]}: {shortened(str(error), 160)}") from None
    if not isinstance(node, DictConfig) or not node:
        raise UserError(f"{files[name]} must hold keys and values")
    OmegaConf.set_struct(node, False)
    return node


def _for_hydra(word: str) -> str:
    if (plain := word.lstrip("+")).startswith("recipe="):
        return f"recipe@ladder.{plain}"
    if word.startswith(LEAVING_OUT):
        return f"++{word}"
    match = _SIZE_OVERRIDE.fullmatch(word)
    if match is None or (match["size"] is None and not match["value"].startswith("{")):
        return word
    value = f"{{{match['key']}: {match['value']}}}" if match["key"] else match["value"]
    return f"++{match['node']}=" + (f"{{{match['size']}: {value}}}" if match["size"] else value)


def _explain(error: Exception, words: Sequence[str]) -> UserError:
    """Hydra's error as one line that names the override and the nearest known key."""
    pairs = [word.partition("=")[::2] for word in words]
    for word in words:
        try:
            OverridesParser.create().parse_override(_for_hydra(word))
        except UNREADABLE:
            key, _, value = word.partition("=")
            return UserError(f"{shortened(key, 80)} = {shortened(value)}: cannot be read; put it into quotes")
    try:
        keys = list(_keys(_compose([f"{key}={value}" for key, value in pairs if key in GROUPS])))
    except UNREADABLE:  # it lies in the files
        if absent := re.search(r"Interpolation key '([\w.]+)' not found", str(error)):
            group = absent[1].partition(".")[0]
            where = f"{file_of(group, chosen)}: " if (chosen := _choices(words).get(group)) else ""
            return UserError(f"{where}{absent[1]} is missing, and another setting refers to it")
        return UserError(f"configs: {shortened(str(error), 240)}")
    for key, _ in pairs:
        if key not in keys and not key.startswith(("+", "~")):
            near = [known for known in keys if known.rpartition(".")[0] == key.rpartition(".")[0]] or keys
            return unknown("configuration key", key, near)
    listed = ", ".join(shortened(key, 40) for key, _ in pairs)
    return UserError(f"{shortened(listed, 100)}: {shortened(str(error), 160)}")


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        key = str(name)
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig):
            yield from _keys(value, f"{prefix}{key}.")


def ladder_from_config(config: Config) -> Ladder:
    return config.ladder.build()
