"""Hydra's Compose API behind every command line: `key=value` words in, a checked configuration out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ladder.errors import UserError, did_you_mean, unknown
from ladder.recipe import Recipe
from ladder.rung import Ladder, Rung, Target, parse_run_name
from ladder.shape import ModelShape

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ROOT_CONFIG = "model_ladder"  # a name that no other project's configs/ has

# Hydra's grammar has no keys like 600M or 1.3B, so `ladder.sizes.600M={…}` becomes `++ladder.sizes={600M: {…}}`.
_SIZE_OVERRIDE = re.compile(
    r"\+{0,2}(?P<node>ladder\.(?:larger_)?sizes|cluster\.gpus)"
    r"(?:\.(?P<size>\d.*?)(?:\.(?P<key>d_model|n_layers|n_heads|ffn_hidden))?)?=(?P<value>.*)"
)


def split_overrides(words: Sequence[str]) -> list[str]:
    """Checks that every word a parser left over is a Hydra override `key=value`, or `~key`, which removes one."""
    for word in words:
        if not word.startswith("~") and ("=" not in word or word.startswith("-")):
            raise UserError(f'"{word}" is neither an option nor key=value; see --help')
    return list(words)


def split_list(words: str | None) -> list[str]:
    """`190M,370M` -> ["190M", "370M"]; None -> []."""
    return [word.strip() for word in (words or "").split(",") if word.strip()]


def parse_multiples(words: str | None) -> list[float]:
    """`1,2,0.5` -> [1.0, 2.0, 0.5]. Raises UserError where one is not a number."""
    try:
        return [float(word.removesuffix("xC")) for word in split_list(words)]
    except ValueError:
        raise UserError(f"--multiples {words}: expected numbers separated by commas, such as 1,2,5") from None


def config_folders() -> list[Path]:
    """Where configurations lie: the user's `configs/` in the current directory, before the ones of this project."""
    own = Path("configs").resolve()
    return [own, CONFIGS] if own.is_dir() and own != CONFIGS else [CONFIGS]


def config_files(group: str) -> dict[str, Path]:
    """The files of a config group by name; the user's own where both folders have one of that name."""
    folders = reversed(config_folders())
    return {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}


def options(group: str) -> list[str]:
    """The names in a config group, such as the ladders or the targets."""
    return sorted(config_files(group))


class OwnConfigs(SearchPathPlugin):
    """Has Hydra look into the user's folder first too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in config_folders()[:-1]:
            search_path.prepend("own", f"file://{folder}", anchor="main")


def load_config(overrides: Sequence[str] = ()) -> DictConfig:
    """The resolved configuration.

    Raises:
        UserError: an unknown group option, key or a malformed override, with the nearest known name.
    """
    _check_target(overrides)
    try:
        return _compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides) from None
    except YAMLError as error:
        raise UserError(f"configs: {error}") from None


def _check_target(overrides: Sequence[str]) -> None:
    """N of one model and D of another, or both under a third one's name, would be predicted without a word."""
    keys = {word.partition("=")[0].lstrip("+") for word in overrides}
    whole = {"target.name", "target.n", "target.d"}
    if {"target.n", "target.d"} & keys and (missing := sorted(whole - keys)):
        raise UserError(f"{', '.join(missing)} is missing: a target of your own has all of target.name, .n and .d")


def _compose(overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    Plugins.instance().register(OwnConfigs)
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
        config = compose(ROOT_CONFIG, overrides=[_for_hydra(word) for word in overrides])
        OmegaConf.resolve(config)
    return config


def _for_hydra(word: str) -> str:
    name, _, value = word.partition("=")
    if name == "target" and value not in options("target") and parse_run_name(value):
        return f"target.name={value}"
    match = _SIZE_OVERRIDE.fullmatch(word)
    if match is None or (match["size"] is None and not match["value"].startswith("{")):
        return word
    value = f"{{{match['key']}: {match['value']}}}" if match["key"] else match["value"]
    return f"++{match['node']}=" + (f"{{{match['size']}: {value}}}" if match["size"] else value)


def _explain(error: Exception, overrides: Sequence[str]) -> UserError:
    """Hydra's error as one line that names the override and the nearest known option or key."""
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"recipe"}
    pairs = [override.partition("=")[::2] for override in overrides]
    for key, value in pairs:
        if key in groups and value not in options(key):
            return unknown(key, value, options(key))
    keys = list(_keys(_compose([f"{key}={value}" for key, value in pairs if key in groups])))
    for key, _ in pairs:
        if key not in keys and not key.startswith(("+", "~")):
            near = [known for known in keys if known.rpartition(".")[0] == key.rpartition(".")[0]] or keys
            return unknown("configuration key", key, near)
    return UserError(" ".join(str(error).split()))


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        key = str(name)
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig):
            yield from _keys(value, f"{prefix}{key}.")


def ladder_from_config(config: DictConfig) -> Ladder:
    """Raises UserError where a value of the `ladder` group has the wrong type or is missing."""
    node = config.ladder
    try:
        return Ladder(
            name=str(node.name),
            recipe=Recipe(**{str(key): _recipe_value(str(key), value) for key, value in node.recipe.items()}),
            sizes=_shapes(node, "sizes"),
            larger_sizes=_shapes(node, "larger_sizes"),
            multiples=_multiples(node.multiples),
        )
    except TypeError as error:  # a key too many or too few for a dataclass
        raise UserError(f"ladder {node.name}: {error}") from None


def _multiples(value: Any) -> tuple[float, ...]:
    if not isinstance(value, ListConfig):
        raise UserError(f"ladder.multiples={value} must be a list such as [1,2,5,10]")
    return tuple(float(_number("ladder.multiples", multiple)) for multiple in value)


def _shapes(node: Any, group: str) -> dict[str, ModelShape]:
    shapes = {}
    for size, shape in node[group].items():
        if not isinstance(shape, DictConfig):
            raise UserError(f"ladder.{group}.{size}={shape} must hold d_model, n_layers, n_heads and ffn_hidden")
        known = ("d_model", "n_layers", "n_heads", "ffn_hidden")
        for key in shape:
            if key not in known:
                raise unknown(f"key of ladder.{group}.{size}", str(key), known)
        if missing := [key for key in known if key not in shape]:
            raise UserError(f"ladder.{group}.{size} has no {', '.join(missing)}")
        shapes[str(size)] = ModelShape(vocab_size=node.vocab_size, **{key: shape[key] for key in known})
    return shapes


def _recipe_value(key: str, value: Any) -> Any:
    return value if Recipe.__annotations__.get(key) == "str" else _number(f"ladder.recipe.{key}", value)


def _number(key: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key}={value!r} must be a number")
    return value


def rung_from_config(config: DictConfig) -> Rung:
    """The rung that `rung=NAME` asks for."""
    ladder = ladder_from_config(config)
    if not config.rung:
        raise UserError(f"say which rung: rung=NAME, one of {', '.join(rung.name for rung in ladder.rungs)}")
    return ladder.rung(str(config.rung))


def ladder_directory(config: DictConfig) -> Path:
    return Path(config.runs_dir) / str(config.ladder.name)


def target_from_config(config: DictConfig, ladder: Ladder) -> Target:
    """The target that the `target` group names; `target.n=… target.d=…` make another one of it.

    Raises:
        UserError: a name that is neither in `configs/target/` nor a run of the ladder, without N and D of its own.
    """
    name, n, d = str(config.target.name), config.target.get("n"), config.target.get("d")
    for key, value in (("n", n), ("d", d)):
        if not 0 < _number(f"target.{key}", value) < float("inf"):
            raise UserError(f"target.{key}={value} must be a number above 0")
    known = {option: load_target(option) for option in options("target")}
    if (n, d) in {(target.n, target.d) for target in known.values()}:
        return load_target(name, ladder)
    return Target(name=name, n=float(n), d=float(d))


def load_target(name: str, ladder: Ladder | None = None) -> Target:
    """A target of `configs/target/`, or any size and multiple of `ladder`, such as `3B-10xC`."""
    if name in options("target"):
        node = OmegaConf.load(config_files("target")[name])
        return Target(name=str(node.name), n=float(node.n), d=float(node.d))
    parsed = parse_run_name(name)
    if ladder is not None and parsed and parsed[0] in ladder.sizes | ladder.larger_sizes:
        rung = ladder.rung(name)
        return Target(name=name, n=float(rung.n), d=float(rung.d))
    raise UserError(f'unknown target "{name}"; {did_you_mean(name, options("target"))}; or give --n and --d')
