"""The files of `configs/`: which there are, the user's own before this project's, and a target read from one."""

from __future__ import annotations

from pathlib import Path

from ladder.config.settings import TargetSettings
from ladder.errors import UserError, shortened, unknown
from ladder.files.reading import read
from ladder.rungs.rung import Ladder, Target, run_as_target

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ROOT_CONFIG = "model_ladder"  # a name that no other project's configs/ has
DEFAULT_LADDER = "olmo2"
GROUPS = ("data", "suite", "cluster", "target", "ladder", "recipe")


def config_folders() -> list[Path]:
    """Where configurations lie: the user's `configs/` in the current directory, before the ones of this project."""
    own = Path("configs").resolve()
    return [own, CONFIGS] if own.is_dir() and own != CONFIGS else [CONFIGS]


def config_files(group: str) -> dict[str, Path]:
    """The files of a config group by name; the user's own where both folders have one of that name."""
    folders = reversed(config_folders())
    return {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}


def is_file(word: str) -> bool:
    """Whether a group's value is a path, as in `ladder=plans/mine.yaml`, and not a name."""
    return word.endswith((".yaml", ".yml"))


def file_of(group: str, word: str) -> Path:
    """The file that a group's value names, or is the path of. Raises UserError where there is none of that name."""
    if is_file(word):
        return Path(word)
    if word not in (files := config_files(group)):
        place = "" if "/" in word or not word.strip(".") else f"configs/{group}/{shortened(word)}.yaml, or "
        raise UserError(f"{unknown(group, word, sorted(files))}; a file of your own is {place}{group}=FILE.yaml")
    return files[word]


def options(group: str) -> list[str]:
    """The names in a config group, such as the ladders or the targets."""
    return sorted(config_files(group))


def load_target(name: str, ladder: Ladder | None = None) -> Target:
    """A target of `configs/target/`, or any size and multiple of `ladder`, such as `3B-10xC`."""
    targets = options("target")
    if name not in targets:
        if ladder is None:
            raise unknown("target", name, targets)
        return run_as_target(name, ladder, tuple(targets))
    target = read(TargetSettings, path := config_files("target")[name])
    if target.name is None or target.n is None or target.d is None:
        raise UserError(f"{path} must have name, n and d")
    return Target(name=target.name, n=float(target.n), d=float(target.d))
