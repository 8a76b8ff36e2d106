"""Recipes beside each other: which is better, how sure that is, and what it is worth, where the truth is known."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.__main__ import main
from predict.analyses.compare import compare
from predict.analyses.recipes import recipes
from predict.measured.ladder import Measured
from predict.measured.rungs import measured_ladder
from predict.measured.runs import Smoothing
from predict.measured.table import table_of
from predict.methods.recipe_effects import Difference

POINTS = [(4e8, 8e9), (1.4e9, 2.8e10)]
TARGET = Target(name="target", n=7e9, d=1.4e11)
ASKED = ["--n", "7e9", "--d", "1.4e11"]
TASKS, ITEMS, CHANCE = 8, 2000, 0.25
LEVELS = np.linspace(0.8, 1.6, TASKS)


def accuracy(n: float, d: float, shift: Any) -> np.ndarray:
    """(tasks,) A recipe is `shift` decades of compute ahead of the one of shift 0."""
    decades = np.log10(n * d / 4e19)
    rise = CHANCE + (1 - CHANCE) * np.exp(-LEVELS * 10 ** (-0.16 * (decades + np.array([[0.0], [0.1]]))))
    return np.clip(rise[0] + (rise[1] - rise[0]) / 0.1 * shift, 0, 1)


def rows_of(recipe: str, shift: float, seed: int, points: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """A run a point: its shift differs by task, by scale and by both, and its accuracy by a run's noise."""
    random = np.random.default_rng(seed)
    by_task = shift + 0.35 * random.standard_normal(TASKS)
    rows = []
    for n, d in points:
        here = by_task + 0.07 * random.standard_normal() + 0.14 * random.standard_normal(TASKS)
        values = np.clip(accuracy(n, d, here) + 0.01 * random.standard_normal(TASKS), 0, 1)
        run = {"ladder": recipe, "run": f"{recipe}-{n:g}", "size": f"{n:g}", "n": n, "d": d, "step": 1, "tokens": d}
        for task, value in enumerate(random.binomial(ITEMS, values) / ITEMS):
            what = {"task": f"t{task}", "split": "test", "metric": "rc_acc", "items": ITEMS, "chance": CHANCE}
            rows.append(run | what | {"value": value})
    return rows


def measured(rows: list[dict[str, Any]], name: str) -> Measured:
    smoothing = Smoothing(final_checkpoints=1, window=1, skip_fraction=0.0)
    table = table_of(rows, name)
    return measured_ladder(table, name, name=name, smoothing=smoothing, ladder=None, at_least=1)


def table(path: Path, shifts: dict[str, float], targets: bool) -> Path:
    points = [*POINTS, (TARGET.n, TARGET.d)] if targets else POINTS
    rows = [row for i, (name, shift) in enumerate(shifts.items()) for row in rows_of(name, shift, i, points)]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    main(["compare", *words, "--json"])
    return json.loads(capsys.readouterr().out)


def test_intervals_and_probabilities_hold_where_the_truth_is_known() -> None:
    random = np.random.default_rng(3)
    shifts = random.normal(0, 0.25, 30)
    points = [*POINTS, (TARGET.n, TARGET.d)]
    found = recipes([measured(rows_of(f"r{i}", s, i, points), f"r{i}") for i, s in enumerate(shifts)], TARGET)
    assert found.points == tuple(POINTS) and not np.isnan(found.actual).any()
    actual = [float(pair.actual.mean()) for pair in found.pairs if pair.actual is not None]
    inside = [truth in pair.mean.interval80 for truth, pair in zip(actual, found.pairs, strict=True)]
    stated, right = (
        np.array([pair.mean.probability for pair in found.pairs]),
        np.array([bool(p.right) for p in found.pairs]),
    )
    assert 0.7 <= np.mean(inside) <= 0.9
    assert np.mean(right) == pytest.approx(np.mean(stated), abs=0.06)
    assert np.mean(right[stated > 0.9]) > 0.93 and 0.5 < np.mean(right[stated < 0.7]) < 0.8
    worth = [shifts[pair.first] - shifts[pair.second] for pair in found.pairs]
    assert np.corrcoef(worth, [np.log10(pair.mean.speed_up) for pair in found.pairs])[0, 1] > 0.7


def test_the_budget_is_the_one_at_which_the_other_catches_up() -> None:
    one = Difference(value=0.02, sd=0.01, slope=0.1)
    assert one.speed_up == pytest.approx(10**0.2)
    assert one.speed_up80.low < one.speed_up < one.speed_up80.high and one.probability == pytest.approx(0.977, abs=1e-3)
    assert Difference(value=0.9, sd=0.01, slope=1e-4).speed_up == 1e6  # and no overflow


def test_a_second_scale_makes_surer() -> None:
    two, one = (
        recipes([measured(rows_of(name, shift, 1, points), name) for name, shift in (("a", 0.2), ("b", 0.0))], TARGET)
        for points in (POINTS, POINTS[1:])
    )
    both, single = two.pair(0, 1), one.pair(0, 1)
    assert both.mean.sd / both.mean.slope < single.mean.sd / single.mean.slope  # in decades of compute
    assert both.single_at == single.single_at


def test_rungs_that_only_one_of_two_recipes_has_are_counted() -> None:
    more = [(1e8, 4e9), (2e8, 8e9), *POINTS]
    long, short = measured(rows_of("a", 0.2, 1, more), "a"), measured(rows_of("b", 0.0, 2, POINTS), "b")
    (said,) = [one for one in compare(long, short, TARGET, [])[1].notes if one.code == "rungs-unshared"]
    assert said.values == {"a": 2, "of_a": 4, "b": 2, "of_b": 2} and "2 of A's 4 and 2 of B's 2" in said.text
    alike = measured(rows_of("c", 0.1, 3, POINTS), "c")
    assert "rungs-unshared" not in [one.code for one in compare(alike, short, TARGET, [])[1].notes]


def test_every_pair_of_a_table_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shifts = {"good": 0.4, "fair": 0.1, "poor": -0.4}
    path = str(table(tmp_path / "mixes.csv", shifts, targets=False))
    ranking, pairs = answer(capsys, path, *ASKED, "--plot", str(tmp_path / "all.png"))
    assert [row["recipe"] for row in ranking["rows"]] == ["good", "fair", "poor"]
    first = pairs["rows"][0]
    assert (first["A"], first["B"]) == ("good", "poor")
    assert first["speed-up, 80% low"] < first["speed-up"] < first["speed-up, 80% high"]
    assert first["FLOPs for B"] == pytest.approx(TARGET.flops_6nd * first["speed-up"])
    assert (tmp_path / "all.png").read_bytes()[:4] == b"\x89PNG"
    main(["compare", path, *ASKED, "--csv"])
    head, rest = capsys.readouterr().out.split("\n\n")
    assert next(csv.DictReader(io.StringIO(head)))["recipe"] == "good" and rest.startswith("A,A rank,B,B rank,A - B")
    main(["compare", path, *ASKED])
    assert "1. good" in capsys.readouterr().out
    with pytest.raises(UserError, match=r'unknown corpus of .*"god"; did you mean "good"'):
        main(["compare", path, "--corpora", "god,fair,poor", *ASKED])


def test_where_targets_are_measured_the_answers_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shifts = {f"m{i}": shift for i, shift in enumerate(np.linspace(-0.3, 0.3, 7))}
    path = str(table(tmp_path / "mixes.csv", shifts, targets=True))
    ranking, pairs, reliability = answer(capsys, path, *ASKED, "--plot", str(tmp_path / "all.png"))
    assert all(row["actual"] > 30 for row in ranking["rows"])
    right = [row["actual"] > 0 for row in pairs["rows"]]
    total = reliability["rows"][-1]
    assert total["probability"] == "all" and total["pairs"] == 21 and total["right"] == pytest.approx(np.mean(right))
    assert total["right"] > 0.8 and sum(row["pairs"] for row in reliability["rows"][:-1]) == 21
    (two,) = answer(capsys, path, "--corpora", "m0,m6", *ASKED)
    mean = two["rows"][-1]
    assert mean["task"] == "mean" and mean["A - B"] < 0 and mean["actual A - B"] < 0 and mean["agree"]
    assert "B is better with probability" in two["notes"][1] and "times the compute" in two["notes"][1]


def test_the_best_run_of_a_sweep_counts_and_strangers_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = rows_of("a", 0.3, 1, POINTS), rows_of("a", -1.0, 2, POINTS)
    bad = [row | {"run": f"{row['run']}-bad"} for row in bad]
    other = rows_of("b", 0.0, 3, POINTS)
    strange = rows_of("c", 0.0, 4, [(2e9, 9e9)])
    beyond = rows_of("d", 0.0, 5, [(TARGET.n, TARGET.d)])
    path = tmp_path / "mixes.csv"
    pd.DataFrame([*good, *bad, *other, *strange, *beyond]).to_csv(path, index=False)
    ranking, pairs = answer(capsys, str(path), *ASKED)
    assert [(row["A"], row["B"]) for row in pairs["rows"]] == [("a", "b")]
    assert any("left out, without a scale that another has: d, c" in note for note in ranking["notes"])
    pd.DataFrame([*other, *beyond]).to_csv(path, index=False)
    with pytest.raises(UserError, match="fewer than two of the ladders have a rung below"):
        main(["compare", str(path), *ASKED])
    pd.DataFrame([*other, *strange]).to_csv(path, index=False)
    with pytest.raises(UserError, match="have no rung of the same N and D in common"):
        main(["compare", str(path), *ASKED])


def test_tasks_at_chance_say_nothing_unless_asked_for() -> None:
    rows = []
    for i, shift in enumerate((0.0, 0.2)):
        for row in rows_of(f"r{i}", shift, i, POINTS):
            guessed = row["task"] in ("t6", "t7")
            rows.append((i, row | {"value": 0.25 + 0.005 * i} if guessed else row))
    ladders = [measured([row for k, row in rows if k == i], f"r{i}") for i in (0, 1)]
    found = recipes(ladders, TARGET)
    assert [task.name for task in found.tasks] == [f"t{i}" for i in range(6)]
    assert [(note.code, note.values["count"], note.values["of"]) for note in found.notes] == [("tasks-telling", 6, 8)]
    assert [task.name for task in recipes(ladders, TARGET, ["t7"]).tasks] == ["t7"]


DCLM = """
columns: {ladder: family, n: n_params, d: d_tokens, items: n_items}
metrics: {acc: rc_acc}
"""


def test_dclms_corpora_are_ordered_as_well_as_by_their_largest_scale_and_the_odds_are_fair(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Constants were chosen on these pairs, each without its own two corpora saying the same (the script's table)."""
    source = shared / "testbeds" / "dclm" / "dclm.csv.gz"
    frame = pd.read_csv(source, low_memory=False)
    has = {size: set(frame[(frame.n_params == n) & (frame.d_tokens == d)].family) for size, n, d in (
        ("small", 1439795200, 28795904000), ("target", 6889410560, 137788211200))}  # fmt: skip
    path, known = tmp_path / "dclm.csv", tmp_path / "dclm.yaml"
    frame[frame.family.isin(has["small"] & has["target"])].to_csv(path, index=False)
    known.write_text(DCLM)
    words = [str(path), "--mapping", str(known), "--n", "6889410560", "--d", "137788211200"]
    ranking, pairs, reliability = answer(capsys, *words)
    total = reliability["rows"][-1]
    assert len(ranking["rows"]) == 14 and total["pairs"] == len(pairs["rows"]) == 91
    assert total["right"] >= 0.85 and total["right"] >= total["single scale right"]
    assert abs(total["right"] - total["stated"]) < 0.1 and 0.75 <= total["in 80%"] <= 0.95
    surest = reliability["rows"][-2]
    assert surest["probability"] == "90% to 100%" and surest["right"] > 0.93 and surest["pairs"] > 25


def test_two_recipes_near_100_percent_differ_by_what_their_interval_is_of() -> None:
    rows = _near_the_top("a", 0.999) + _near_the_top("b", 0.93)
    sides = [measured([row for row in rows if row["ladder"] == name], name) for name in "ab"]
    for row in compare(sides[0], sides[1], TARGET, ["t0"])[0]:
        assert row.low80 < row.a - row.b < row.high80 and 0 <= row.b < row.a <= 1
        assert row.a - row.b == pytest.approx((row.low80 + row.high80) / 2)


def _near_the_top(recipe: str, value: float) -> list[dict[str, Any]]:
    return [row | {"value": value} for row in rows_of(recipe, 0.0, 0, POINTS) if row["task"] == "t0"]
