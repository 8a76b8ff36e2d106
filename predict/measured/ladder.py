"""A ladder's measurements, ready to fit: which runs are its rungs, how to smooth them, what a run costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.errors import UserError, unknown
from ladder.rung import Ladder, Target, parse_run_name
from predict.measured.runs import Run, Smoothing, accuracy_curve, measured_tasks, runs_of
from predict.measured.same import same, same_point
from predict.measured.tasks import Task, resolve_tasks
from predict.notes import Note, warning

if TYPE_CHECKING:
    import pandas as pd

TWIN = 0.1  # of D, at the target's N: its other variants, such as an anneal, give it away
MINIMUM_RUNGS = 3
FEW_RUNGS = 5


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`rungs` are what a fit may use, by N and then D; `runs` is everything that was read."""

    name: str
    source: str
    rungs: tuple[Run, ...]
    runs: tuple[Run, ...]
    measured: dict[tuple[str, str], tuple[float, int]]
    smoothing: Smoothing
    ladder: Ladder | None = None
    notes: tuple[Note, ...] = ()

    def tasks(self, names: Iterable[str] = ()) -> list[Task]:
        return resolve_tasks(self.measured, names, self.source)

    def flops(self, n: float, d: float) -> float:
        """Training FLOPs: 6N + attention + 4 · head per token where the ladder knows the shape, else 6ND.

        That per-token sum reproduces the constants behind the paper's FLOPs analyses (section 6.1) exactly.
        """
        if self.ladder is None:
            return 6.0 * n * d
        for shape in (self.ladder.sizes | self.ladder.larger_sizes).values():
            if same(shape.n, n):
                attention = shape.flops_per_token_with_attention(self.ladder.recipe.sequence_length)
                return d * (attention + 4 * shape.head_parameters)
        return 6.0 * n * d

    def at(self, target: Target) -> Run | None:
        """The finished run that is the target, if it was measured."""
        found = [
            run
            for run in self.runs
            if same_point((run.n, run.d), (target.n, target.d)) and run.finished and not _tag(run)
        ]
        return min(found, key=lambda run: abs(run.d - target.d), default=None)

    def below(self, target: Target) -> Measured:
        """Without the target's own run and its variants, and where no ladder names the rungs without costlier runs."""
        keep = [
            run
            for run in self.rungs
            if not (same(run.n, target.n) and abs(run.d / target.d - 1) < TWIN)
            and (self.ladder is not None or run.compute < target.flops_6nd)
        ]
        return replace(self, rungs=tuple(keep)).checked()

    def checked(self) -> Measured:
        """Raises UserError where there are too few rungs to fit."""
        if len(self.rungs) < MINIMUM_RUNGS:
            names = ", ".join(run.name for run in self.rungs) or "none"
            raise UserError(
                f"{self.source}: {len(self.rungs)} rungs to fit ({names}), at least {MINIMUM_RUNGS} are needed; "
                f"train and evaluate more, or widen --sizes and --multiples"
            )
        return self

    def actual(self, target: Target, task: Task, count: int) -> float | None:
        """Measured accuracy of the target: the mean of its last `count` checkpoints."""
        run = self.at(target)
        if run is None or not run.has(task, "rc_acc"):
            return None
        return accuracy_curve(run, task).final(count)

    def everywhere(self, task: Task, metric: str) -> bool:
        """Whether every rung has that measurement."""
        return all(run.has(task, metric) for run in self.rungs)

    def warnings(self) -> list[Note]:
        """What limits every fit on this ladder."""
        notes = list(self.notes)
        if len(self.rungs) < FEW_RUNGS:
            notes.append(warning("few-rungs", count=len(self.rungs)))
        for what, values in (
            ("size", {run.n for run in self.rungs}),
            ("multiple", {run.multiple for run in self.rungs}),
        ):
            if len(values) == 1:
                notes.append(warning("one-value", what=what))
        unfinished = [run.name for run in self.rungs if not run.finished]
        if unfinished:
            notes.append(warning("unfinished", runs=unfinished))
        return notes


def _tag(run: Run) -> str:
    parsed = parse_run_name(run.name)
    return parsed[2] if parsed else ""


def ladder_data(
    table: pd.DataFrame,
    source: str,
    *,
    name: str,
    smoothing: Smoothing,
    ladder: Ladder | None,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
) -> Measured:
    """Chooses the rungs. With a `ladder` they are its own; `sizes` and `multiples` narrow, or name what else to take.

    Raises:
        UserError: a size or multiple that was not measured, or too few rungs.
    """
    runs = runs_of(table)
    sizes = [_our_spelling(size, runs) for size in sizes]
    _check_measured(runs, source, sizes, multiples)
    wanted_sizes = sizes or (list(ladder.sizes) if ladder else [])
    wanted_multiples = multiples or (list(ladder.multiples) if ladder else [])
    rungs = [
        run
        for run in runs
        if (not wanted_sizes or run.size in wanted_sizes)
        and (not wanted_multiples or any(same(run.multiple, multiple) for multiple in wanted_multiples))
        and not _tag(run)
    ]
    if ladder is not None:  # a target of the same size (peteish7 is no rung) has no rung's name
        rungs = [run for run in rungs if parse_run_name(run.name)]
    data = Measured(
        name=name,
        source=source,
        rungs=tuple(rungs),
        runs=tuple(runs),
        measured=measured_tasks(table),
        smoothing=smoothing,
        ladder=ladder,
    )
    return data.checked()


def _check_measured(runs: Sequence[Run], source: str, sizes: Sequence[str], multiples: Sequence[float]) -> None:
    for size in sizes:
        if size not in {run.size for run in runs}:
            raise unknown(f"size of {source}", size, dict.fromkeys(run.size for run in runs))
    for multiple in multiples:
        known = sorted({run.multiple for run in runs})
        if not any(same(multiple, other) for other in known):
            raise unknown(f"multiple of {source}", f"{multiple:g}", dict.fromkeys(f"{other:.3g}" for other in known))


def _our_spelling(size: str, runs: Sequence[Run]) -> str:
    from predict.measured.ai2 import SIZES

    return size if size in {run.size for run in runs} else SIZES.get(size, size)


def load_ladder(
    path: Path,
    *,
    everything: bool = False,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
    overrides: Sequence[str] = (),
    corpus: str | None = None,
    mapping: Path | None = None,
) -> Measured:
    """Reads whatever `predict.measured.load.read_measurements` knows, and chooses the rungs.

    Of AI2's folder only rungs and targets are read, unless `everything` is wanted, or sizes or multiples are named.
    """
    from predict.measured.ai2 import is_ai2_folder
    from predict.measured.load import is_run_folder, read_measurements

    config = _configuration(path, overrides)
    ladder, smoothing = _ladder_of(config), Smoothing(**{str(key): value for key, value in config.ladder.fit.items()})
    if path.is_dir() and is_ai2_folder(path):
        wanted = set(sizes) | set(multiples)
        table = read_measurements(path, rungs=None if wanted or everything else [rung.name for rung in ladder.rungs])
    else:
        table = read_measurements(path, mapping=mapping)
    known = ladder if path.is_dir() and (is_ai2_folder(path) or is_run_folder(path)) else None
    table = _one_corpus(table, corpus, path)
    data = ladder_data(
        table,
        str(path),
        name=known.name if known else path.stem,
        smoothing=smoothing,
        ladder=known,
        sizes=sizes,
        multiples=multiples,
    )
    notes = [*_absent(data, sizes, multiples), *(_recipes(path, data) if path.is_dir() else [])]
    return replace(data, notes=tuple(notes))


def load_frame(
    frame: pd.DataFrame,
    *,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
    corpus: str | None = None,
    mapping: Path | None = None,
) -> Measured:
    """As `load_ladder`, of rows that are in memory already; errors quote their index."""
    from ladder.config import load_config
    from predict.measured.mapping import read_mapping, tidy

    source = Path("the DataFrame")
    rows = frame.rename_axis(index="row")
    table = _one_corpus(tidy(rows, read_mapping(mapping), str(source)), corpus, source)
    smoothing = Smoothing(**vars(load_config().ladder.fit))
    return ladder_data(
        table,
        str(source),
        name=str(source),
        smoothing=smoothing,
        ladder=None,
        sizes=sizes,
        multiples=multiples,
    )


def _absent(data: Measured, sizes: Sequence[str], multiples: Sequence[float]) -> list[Note]:
    """Rungs of the ladder that were not measured, where the whole ladder was asked for."""
    if data.ladder is None or sizes or multiples:
        return []
    present = {run.name for run in data.rungs}
    absent = [rung.name for rung in data.ladder.rungs if rung.name not in present]
    return [warning("not-measured", rungs=absent)] if absent else []


def _recipes(path: Path, data: Measured) -> list[Note]:
    """Settings of the recipe, such as the learning-rate schedule, in which the rungs' configurations differ."""
    from omegaconf import OmegaConf

    from ladder.rundir import find_runs

    names = {run.name for run in data.rungs}
    files = [run.config_file for run in find_runs(path) if run.name in names and run.config_file.exists()]
    recipes = [dict(OmegaConf.load(file).ladder.recipe) for file in files]
    keys = sorted({key for recipe in recipes for key in recipe})
    mixed = [key for key in keys if len({str(recipe.get(key)) for recipe in recipes}) > 1]
    return [warning("mixed-recipes", keys=mixed)] if mixed else []


def _one_corpus(table: pd.DataFrame, corpus: str | None, path: Path) -> pd.DataFrame:
    names = [str(name) for name in table.ladder.cat.categories if (table.ladder == name).any()]
    if corpus is None:
        if len(names) > 1:
            raise UserError(f"{path} holds {len(names)} ladders; choose one with --corpus: {', '.join(names)}")
        return table
    if corpus not in names:
        raise unknown(f"corpus of {path}", corpus, names)
    return table[table.ladder == corpus]


def _configuration(path: Path, overrides: Sequence[str]) -> Any:
    """The configuration the runs were made with where they carry one, else the one composed from `overrides`."""
    from omegaconf import OmegaConf

    from ladder.config import compose, options
    from ladder.rundir import find_runs

    stored = [run.config_file for run in find_runs(path)] if path.is_dir() else []
    stored = [file for file in stored if file.exists()]
    if not stored:
        return compose(overrides)
    config = OmegaConf.load(stored[0])
    if config.ladder.name not in options("ladder"):
        return config
    words = [f"ladder={config.ladder.name}"]
    changed = compose([*words, *overrides])  # checks the overrides
    merged = OmegaConf.create(OmegaConf.to_container(compose(words)))  # as a plain, open node
    known = merged.ladder.recipe
    for name, value in config.ladder.items():
        merged.ladder[name] = value
    # Runs may be older than the code: keys that the recipe has gained or lost since take the present form.
    merged.ladder.recipe = {key: config.ladder.recipe.get(key, value) for key, value in known.items()}
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        OmegaConf.update(merged, key, OmegaConf.select(changed, key), force_add=True)
    return merged


def _ladder_of(config: Any) -> Ladder:
    from ladder.config import ladder_of

    return ladder_of(config.ladder)
