"""`python -m predict compare A B`: two ladders, such as two data mixes, compared at one target."""

from __future__ import annotations

import argparse
from pathlib import Path

from ladder.errors import UserError
from predict import command
from predict.compare import compare, comparison_table


def main(argv: list[str]) -> None:
    options = command.parser("compare", __doc__ or "")
    options.add_argument("ladders", type=Path, nargs="*", metavar="LADDER", help="two directories or measurement files")
    options.add_argument("--corpora", type=command.words, default=[], help="two ladders of one file, such as c4,dolma")
    command.add_narrowing(options)
    options.add_argument("--mapping", type=Path, metavar="FILE", help="YAML that explains the columns of the files")
    command.add_target(options)
    command.add_format(options)
    command.add_plot(options)
    known, rest = options.parse_known_intermixed_args(argv)
    overrides = command.overrides_of([*[str(p) for p in known.ladders if "=" in str(p)], *rest])
    paths = [path for path in known.ladders if "=" not in str(path)]
    sides = pairs(paths, known.corpora)
    both = [
        command.data_of(argparse.Namespace(**vars(known) | {"ladder": path, "corpus": corpus}), overrides)
        for path, corpus in sides
    ]
    target = command.target_of(known, both[0])
    rows, rung = compare(both[0], both[1], target, known.tasks)
    a, b = (f"{path} {corpus}" if corpus else str(path) for path, corpus in sides)
    table = comparison_table(rows, (a, b), target, rung)
    command.show(known.form, table)
    if known.plot:
        from predict.analysis_plots import comparison_figure
        from predict.plots import save

        save(comparison_figure(rows, target, rung), known.plot)


def pairs(paths: list[Path], corpora: list[str]) -> list[tuple[Path, str | None]]:
    """The two ladders: two paths, or one path and two corpora in it. Raises UserError otherwise."""
    if len(paths) == 2 and not corpora:
        return [(path, None) for path in paths]
    if len(paths) == 1 and len(corpora) == 2:
        return [(paths[0], corpus) for corpus in corpora]
    raise UserError(
        "compare takes two ladders (compare A B), or one file and two of its ladders (compare FILE --corpora A,B)"
    )
