"""`python -m predict collect`: keeps whatever can be read as one checked measurement table, in a Parquet file."""

from __future__ import annotations

import argparse

from ladder.errors import UserError
from ladder.words import count_of
from predict.measured import mapping
from predict.measured.flat_files import write_parquet
from predict.measured.joined import joined
from predict.measured.load import read_measurements
from predict.show import command_line


def main(argv: list[str]) -> None:
    options = command_line.parser("collect", __doc__ or "")
    options.epilog, options.formatter_class = mapping.__doc__, argparse.RawDescriptionHelpFormatter
    options.add_argument(
        "--ladder", type=command_line.place, required=True, metavar="PATH", help="runs, a file, or wandb:ENTITY/PROJECT"
    )
    what = "also what this has measured of the same runs, such as pass rates (a file, or results of lm-eval)"
    options.add_argument("--also", type=command_line.place, action="append", default=[], metavar="PATH", help=what)
    command_line.add_mapping(options)
    output = command_line.file_named(".parquet")
    options.add_argument("--output", type=output, required=True, metavar="FILE", help="the .parquet file to write")
    given, overrides = command_line.parse(options, argv)
    if overrides:
        raise UserError(f"{overrides[0]}: collect takes no configuration; it keeps everything that was measured")
    reading = read_measurements(given.ladder, mapping=None if given.also else given.mapping)
    for path in given.also:
        reading = joined(reading, read_measurements(path, mapping=given.mapping), str(path))
    if given.output.exists() and given.ladder.exists() and given.output.samefile(given.ladder):
        raise UserError(f"--output {given.output} is what --ladder reads; give another name")
    write_parquet(reading, given.output)
    runs = count_of(len(reading.table[["ladder", "run"]].drop_duplicates()), "run")
    print(f"wrote {given.output}: {count_of(len(reading.table), 'measurement')} of {runs}")
