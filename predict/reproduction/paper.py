"""`python -m predict paper`: the paper's tables and figures from AI2's measurements, beside the printed numbers."""

from __future__ import annotations

from pathlib import Path

from ladder.files.writing import files_into, write_text
from predict.measured.load import load_ladder
from predict.reproduction.figures import all_figures
from predict.reproduction.paper_study import PaperStudy
from predict.reproduction.printed import differing
from predict.reproduction.tables import all_tables
from predict.show import command_line


def main(argv: list[str]) -> None:
    options = command_line.parser("paper", __doc__ or "")
    options.add_argument(
        "--ladder", type=command_line.place, required=True, metavar="DIR", help="AI2's folder of CSV files"
    )
    options.add_argument(
        "--output", type=command_line.folder, default=Path("paper"), metavar="DIR", help="where to write"
    )
    given, overrides = command_line.parse(options, argv)
    study = PaperStudy(load_ladder(given.ladder, overrides=overrides))
    tables = all_tables(study)
    figures = all_figures(study)
    with files_into(given.output) as folder:
        for name, table in tables.items():
            write_text(folder / f"{name}.csv", table.csv() + "\n")
        text = "\n\n".join(table.markdown() for table in tables.values())
        write_text(folder / "tables.md", f"# The paper's tables, recomputed\n\n{text}\n")
        for name, draw in figures.items():
            draw().save(folder / f"{name}.png")
    print(
        f"wrote {len(tables)} tables (tables.md and CSV) and {len(figures)} figures to {given.output}; "
        f"{differing(tables.values())} numbers do not round to what the paper prints, marked and explained there"
    )
