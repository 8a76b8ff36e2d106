"""Whatever lies at a path becomes a ladder's measurements, by the reader of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.config.config_files import CONFIGS, DEFAULT_LADDER, config_folders, options
from ladder.config.plain_ladder import plain_ladder
from ladder.config.settings import LadderSettings, Smoothing
from ladder.errors import UserError, shortened, unknown
from ladder.files.bind import bind
from ladder.rungs.recipe import Recipe
from predict.measured import ai2, flat_files, lm_eval, own_runs, wandb_runs
from predict.measured.about import Reading
from predict.measured.ladder import MINIMUM_RUNGS, Measured
from predict.measured.mapping import read_mapping, tidy
from predict.measured.reader import Reader
from predict.measured.rungs import measured_ladder, our_sizes

if TYPE_CHECKING:
    import pandas as pd

# The first that matches reads.
READERS: tuple[Reader, ...] = (
    wandb_runs.PROJECT,
    flat_files.PARQUET,
    flat_files.CSV,
    ai2.READER,
    own_runs.READER,
    lm_eval.READER,
    wandb_runs.OFFLINE,
)


def read_measurements(path: Path, mapping: Path | None = None) -> Reading:
    """What is measured at `path`; `mapping` is a file that explains columns, keys or tasks.

    Raises:
        UserError: nothing is there, nothing that is known, or something that is damaged.
    """
    explained = read_mapping(mapping)
    try:
        reader = next((reader for reader in READERS if reader.matches(path)), None)
    except OSError as error:  # a name that is too long, or what is below it vanished or may not be looked into
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if reader is not wandb_runs.PROJECT and not path.exists():
        raise UserError(f"{path} does not exist")
    if reader is None:
        if path.is_dir() and (files := sorted([*path.glob("*.csv"), *path.glob("*.parquet")])):
            raise UserError(f"{path} is no folder of runs or of AI2's files; name one of its files, such as {files[0]}")
        if path.is_dir():
            raise UserError(f"no measurements in {path}; run: python -m evaluate {path}")
        raise UserError(f"{path} is neither a directory, a .parquet nor a .csv file")
    if mapping is not None and not reader.mapped:
        raise UserError(f"--mapping {mapping}: {path} holds {reader.kind}, which need none")
    return reader.read(path, explained)


def load_ladder(
    path: Path,
    *,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
    overrides: Sequence[str] = (),
    corpus: str | None = None,
    mapping: Path | None = None,
    at_least: int = MINIMUM_RUNGS,
) -> Measured:
    """Reads what is at `path` and chooses the rungs; `overrides` are key=value words of the configuration.

    Raises:
        UserError: as `read_measurements`; a corpus, size or multiple that is not there; too few rungs; a
            configuration that is wrong.
    """
    reading = read_measurements(path, mapping)
    carried = reading.about.ladder
    settings = None if carried is None else _settings(carried, overrides, path)
    ladder = settings.build() if settings else None
    table = _one_corpus(reading.table, corpus, path)
    return measured_ladder(
        table,
        str(path),
        name=ladder.name if ladder else path.stem,
        smoothing=settings.fit if settings else _smoothing(overrides),
        ladder=ladder,
        target=reading.about.target,
        sizes=our_sizes(sizes, reading.about.sizes, table),
        multiples=multiples,
        origin=reading.about.origin,
        notes=reading.about.notes,
        at_least=at_least,
    )


def load_ladders(path: Path, mapping: Path | None = None, at_least: int = MINIMUM_RUNGS) -> list[Measured]:
    """Each of the ladders at `path`: one, or those of a table that holds several, by their names.

    Raises:
        UserError: as `load_ladder`.
    """
    reading = read_measurements(path, mapping)
    names = corpora(reading.table)
    if len(names) < 2:
        return [load_ladder(path, mapping=mapping, at_least=at_least)]
    smoothing = _smoothing()
    return [
        measured_ladder(
            reading.table[reading.table.ladder == name],
            str(path),
            name=name,
            smoothing=smoothing,
            ladder=None,
            notes=reading.about.notes,
            at_least=at_least,
        )
        for name in names
    ]


def corpora(table: pd.DataFrame) -> list[str]:
    """The names of the ladders in a table."""
    return [str(name) for name in table.ladder.cat.categories if (table.ladder == name).any()]


def load_frame(
    frame: pd.DataFrame,
    *,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
    corpus: str | None = None,
    mapping: Path | None = None,
) -> Measured:
    """As `load_ladder`, of rows that are in memory already; errors quote their index."""
    source = Path("the DataFrame")
    named = [name for name in frame.index.names if name is not None]
    rows = frame.reset_index() if named or frame.index.nlevels > 1 else frame  # what is an index may be a column
    rows = rows.rename_axis(index="row")
    read = tidy(rows, read_mapping(mapping), str(source))
    table = _one_corpus(read.table, corpus, source)
    return measured_ladder(
        table,
        str(source),
        name=str(source),
        smoothing=_smoothing(),
        ladder=None,
        sizes=sizes,
        multiples=multiples,
        notes=read.about.notes,
    )


def _one_corpus(table: pd.DataFrame, corpus: str | None, path: Path) -> pd.DataFrame:
    names = corpora(table)
    if corpus is None:
        if len(names) > 1:
            raise UserError(f"{path} holds {len(names)} ladders; choose one with --corpus: {', '.join(names[:10])}")
        return table
    if names == [""]:
        raise UserError(f"--corpus {shortened(corpus)}: {path} holds one ladder, which has no name; leave --corpus out")
    if corpus not in names:
        raise unknown(f"corpus of {path}", corpus, names)
    return table[table.ladder == corpus]


def _smoothing(overrides: Sequence[str] = ()) -> Smoothing:
    """For measurements that carry no ladder."""
    node = _composed(overrides) if overrides else _of_files(DEFAULT_LADDER)
    return bind(LadderSettings, node, "ladder").fit


def _settings(carried: dict[str, Any], overrides: Sequence[str], path: Path) -> LadderSettings:
    return bind(LadderSettings, _ladder_node(carried, overrides), f"the ladder of the runs in {path}")


def _ladder_node(carried: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The `ladder` group of the configuration: what the runs carry of it goes before the files, `overrides` before all.

    Raises:
        UserError: an override that is wrong.
    """
    if not overrides and (whole := _whole(carried)):
        return whole
    name = carried["name"] if carried.get("name") in options("ladder") else DEFAULT_LADDER
    base = _of_files(name)
    changed = _composed([f"ladder={name}", *overrides]) if overrides else base
    # Runs may be older than the code: keys that were gained or lost since take the present form.
    node = base | {key: value for key, value in carried.items() if key in base}
    if isinstance(node["recipe"], dict):
        node["recipe"] = {key: node["recipe"].get(key, value) for key, value in base["recipe"].items()}
    for word in overrides:
        level, _, key = word.partition("=")[0].lstrip("+~").partition(".")
        group, _, name = key.partition(".")
        if level == "ladder" and group:
            node[group] = _changed(node.get(group), base.get(group), changed.get(group), name)
    return node


def _whole(carried: dict[str, Any]) -> dict[str, Any] | None:
    """What the code knows of it, where nothing is missing: then no file is needed, nor Hydra, which takes a while."""
    recipe = carried.get("recipe")
    if not isinstance(recipe, dict) or not (
        _needed(LadderSettings) <= carried.keys() and _needed(Recipe) <= recipe.keys()
    ):
        return None
    of_ladder, of_recipe = ({item.name for item in fields(one)} for one in (LadderSettings, Recipe))
    node = {key: value for key, value in carried.items() if key in of_ladder}
    return node | {"recipe": {key: value for key, value in recipe.items() if key in of_recipe}}


def _needed(cls: type) -> set[str]:
    return {item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING}


def _changed(carried: Any, base: Any, changed: Any, name: str) -> Any:
    """The group with `name` as it was changed, and with it what else is not as in the files (a size such as 1.3B)."""
    if not name or not isinstance(changed, dict) or not isinstance(carried, dict):
        return changed
    news = {key: value for key, value in changed.items() if key == name or value != (base or {}).get(key)}
    return carried | news


def _of_files(name: str) -> dict[str, Any]:
    return plain_ladder(name) if config_folders() == [CONFIGS] else _composed([f"ladder={name}"])


def _composed(words: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from ladder.config.config import compose
    from ladder.config.settings import Config

    config, keys = compose(words), [item.name for item in fields(Config)]
    if strange := [str(key) for key in config if key not in keys]:
        raise unknown("configuration key", strange[0], keys)
    node = OmegaConf.to_container(config.ladder)
    return {str(key): value for key, value in node.items()} if isinstance(node, dict) else {}
