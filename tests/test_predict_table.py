"""The measurement table, and the readers of other people's files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from simulated_ladder import rows_of, simulated, write

from ladder.errors import UserError
from predict.measured.about import Reading
from predict.measured.ai2 import read_ai2
from predict.measured.flat_files import write_parquet
from predict.measured.load import read_measurements
from predict.measured.table import check, table_of


def test_a_table_survives_files(tmp_path: Path) -> None:
    frame = simulated(noise=0.01, checkpoints=3)
    write_parquet(Reading(table=frame), tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(read_measurements(tmp_path / "table.parquet").table, frame)
    pd.testing.assert_frame_equal(read_measurements(write(tmp_path / "table.csv", frame)).table, frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": float("inf")}, "not a finite number"),
        ({"metric": "rc_acc", "value": 1.2}, "outside [0, 1]"),
        ({"metric": "rc_bpb", "value": -0.1}, "loss that is not above 0"),
        ({"metric": "rc_bpb", "value": 0.0}, "loss that is not above 0"),
        ({"metric": "rc_bpb", "value": 1e300}, "loss outside 1e-06 to 10000"),
        ({"chance": 1.0}, "chance = 1 outside [0, 1)"),
        ({"n": float("nan")}, "n = nan, which must lie between 1 and 1e+18"),
        ({"n": 2e8}, "another n"),
        ({"size": "b"}, "another size"),
        ({"d": 0}, "d = 0, which must lie between 1 and 1e+21"),
        ({"d": float("inf")}, "d = inf, which must lie"),
        ({"tokens": 9e9}, "tokens = 9e+09, beyond the run's d = 2e+09"),
        ({"tokens": 2e8}, "tokens = 2e+08, fewer than at an earlier step"),
        ({"tokens": -1}, "tokens = -1, which must be a number of at least 0"),
        ({"metric": "rc_accc"}, 'did you mean "rc_acc"'),
        ({"step": "late"}, "step = 'late' is not a number"),
        ({"step": 1.5}, "step = 1.5 is not a whole number"),
        ({"items": -3}, "items = -3.0 is not a whole number"),
        ({"items": True}, "items = 'True' is not a number"),
        ({"task": ""}, "task = empty is not a name"),
        ({"run": "y" * 100_000}, "is not a name of 1 to 400 characters"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    frame = pd.DataFrame(rows_of("a-1xC", "a", 1e8, 2e9, checkpoints=3)).astype(object)
    for column, value in change.items():
        frame.loc[4, column] = value
    path = tmp_path / "bad.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        read_measurements(path)
    said = str(caught.value)
    assert message in said and "bad.csv" in said and len(said) < 300
    assert "row 6" in said or "mean" in message


def test_conflicts_are_refused_and_repetitions_dropped() -> None:
    rows = rows_of("a-1xC", "a", 1e8, 2e9, checkpoints=3)
    assert len(table_of(rows + rows[:2], "twice")) == len(rows)
    with pytest.raises(UserError, match=r"conflict: run a-1xC, step 1, quiz rc_bpb = .* is there twice"):
        table_of([*rows, rows[0] | {"value": 9.0}], "conflict")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    simulated(checkpoints=1).drop(columns=["n"]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"short\.csv: missing column n"):
        read_measurements(path)


def test_large_products_of_n_and_d_do_not_overflow() -> None:
    frame = check(pd.DataFrame(rows_of("a-1xC", "a", 2e12, 4e14, checkpoints=1)), "big")
    assert frame.n[0] * frame.d[0] == pytest.approx(8e26)


def test_ai2_quirks(tmp_path: Path, shared: Path) -> None:
    source = shared / "olmo-ladder" / "runs"
    frame = read_ai2(source).table
    assert frame.step.min() > 0  # step-0 rows are gone
    last = frame.groupby("run", observed=True)[["n", "d", "step"]].max()
    assert last.loc["1.3B-1xC", "n"] == 1279395840 and last.loc["1.3B-1xC", "step"] == 16279
    assert last.loc["peteish13", "d"] == 5000088518656  # three overlapping pieces are one run
    assert last.loc["peteish7_anneal", "d"] == 3945065873408  # a file without steps
    assert (frame[frame.metric == "rc_task_ce"].value > 0).all()


def test_an_ai2_file_that_lacks_a_column_is_named(tmp_path: Path, shared: Path) -> None:
    wide = pd.read_csv(shared / "olmo-ladder" / "runs" / "190M-1xC.csv")
    for column in ("batch_size_in_tokens", "_step"):
        wide.drop(columns=[column]).to_csv(tmp_path / "190M-1xC.csv", index=False)
        if column == "_step":
            assert read_ai2(tmp_path).table.step.max() == 7272  # counted from the tokens
        else:
            with pytest.raises(UserError, match=r"190M-1xC\.csv lacks the column batch_size_in_tokens"):
                read_ai2(tmp_path)
    keep = [column for column in wide.columns if "downstream_bpb" not in column]
    wide[keep].to_csv(tmp_path / "190M-1xC.csv", index=False)
    with pytest.raises(UserError, match="no column of task loss"):
        read_ai2(tmp_path)
