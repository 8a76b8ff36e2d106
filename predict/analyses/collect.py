"""`python -m predict collect`: keeps whatever can be read as one checked measurement table, in a Parquet file."""

from __future__ import annotations

from pathlib import Path

from ladder.errors import UserError
from predict.measured.flat_files import write_parquet
from predict.measured.load import read_measurements
from predict.show import command_line


def main(argv: list[str]) -> None:
    options = command_line.parser("collect", __doc__ or "")
    options.add_argument(
        "--ladder", type=Path, required=True, metavar="PATH", help="runs, a file, or wandb:ENTITY/PROJECT"
    )
    options.add_argument("--mapping", type=Path, metavar="FILE", help="YAML that explains a file's columns")
    options.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .parquet file to write")
    known, overrides = command_line.parse(options, argv)
    if overrides:
        raise UserError(f"{overrides[0]}: collect takes no configuration; it keeps everything that was measured")
    if known.output.suffix != ".parquet":
        raise UserError(f"--output {known.output}: the name must end in .parquet")
    reading = read_measurements(known.ladder, mapping=known.mapping)
    write_parquet(reading, known.output)
    print(f"wrote {known.output}: {len(reading.table)} measurements of {reading.table.run.nunique()} runs")
