"""Generative accuracy from the loss of gold answers: pass rates brought from elsewhere, mapped from bpb, chance 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_ladder import LOSS, MULTIPLES, SIZES, write

from ladder.errors import UserError
from ladder.files.writing import write_json
from ladder.records.metrics_file import GoldResult, MetricsFile, Provenance
from ladder.runs.rundir import RunDirectory
from predict.__main__ import main
from predict.fitting.forms import Sigmoid
from predict.measured.load import load_ladder, read_measurements

PASS = Sigmoid(a=-0.8, k=9.0, L0=0.72, b=0.8)  # 0 at any loss that small models have
CHECKPOINTS = 10
TARGET = (7e9, 2.8e12)


def rungs() -> list[tuple[str, str, float, float]]:
    return [(f"{size}-{m}xC", size, n, 20 * n * m) for size, n in SIZES.items() for m in MULTIPLES]


def losses(d: float, n: float) -> dict[int, float]:
    return {step: float(LOSS(n, d * step / CHECKPOINTS)) for step in range(1, CHECKPOINTS + 1)}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Run directories with the loss of gold answers of one task at every checkpoint, of two splits in name."""
    for name, size, n, d in rungs():
        run = RunDirectory(tmp_path / "runs" / name)
        write_json(run.run_file, {"run": name})
        for step, loss in losses(d, n).items():
            values = dict.fromkeys(("bpb", "bpb_with_space", "nats_per_token"), loss)
            origin = {"run": name, "size": size, "n": n, "d": d, "step": step, "tokens": d * step / CHECKPOINTS}
            MetricsFile(
                **origin,  # type: ignore[arg-type]
                results=(),
                gold=(GoldResult(task="codex_humaneval", split="val", n=164, stderr={}, **values),),
                lm_loss=(),
                suite="base_easy",
                max_length=4096,
                tries=True,
                git_revision="",
                versions={},
                provenance=Provenance(weights="", tokenizer="", dtype="fp32"),
            ).dump(run.metrics_file(step))
    return tmp_path / "runs"


def pass_rates(lacking: set[str], split: str = "test") -> pd.DataFrame:
    """Of every checkpoint of the runs that are not `lacking`; sizes are written in another way."""
    rows: list[dict[str, Any]] = []
    for name, _, n, d in rungs():
        for step, loss in losses(d, n).items():
            common = {"run": name, "size": "?", "n": round(n, -7), "d": d * 1.001, "step": step, "split": split}
            value = {"task": "codex_humaneval", "metric": "rc_acc", "value": float(PASS(loss)), "chance": 0.0}
            rows += [common | value] if name not in lacking else []
    return pd.DataFrame(rows)


def predicted(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    n, d = TARGET
    assert main(["--ladder", str(path), "--n", str(n), "--d", str(d), "--json", *words]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_pass_rates_join_the_losses_of_runs_and_are_predicted(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "pass.csv", pass_rates({"190M-1xC", "190M-2xC"}))
    both = tmp_path / "both.parquet"
    main(["collect", "--ladder", str(runs), "--also", str(tmp_path / "pass.csv"), "--output", str(both)])
    assert "wrote" in capsys.readouterr().out
    table = read_measurements(both).table
    assert set(table.split) == {"val"} and set(table[table.run == "370M-1xC"].n) == {SIZES["370M"]}
    assert len(table) == 16 * CHECKPOINTS + 14 * CHECKPOINTS
    task = load_ladder(both).narrowed().tasks()[0]
    assert (task.name, task.chance) == ("codex_humaneval", 0.0)
    content = predicted(both, capsys, "--method", "paper")
    (row,) = content["predictions"]
    truth = float(PASS(float(LOSS(*TARGET))))
    assert row["accuracy"] == pytest.approx(truth, abs=0.06) and truth > 0.15
    assert "190M-1xC, 190M-2xC" in json.dumps(content)


def test_harness_results_bring_pass_rates(runs: Path, tmp_path: Path) -> None:
    folder, lines = tmp_path / "lm_eval", ["model,run,n,d,step,tokens"]
    for name, _, n, d in rungs():
        rate = float(PASS(losses(d, n)[CHECKPOINTS]))
        measured = {"alias": "humaneval", "pass@1,create_test": rate, "pass@1_stderr,create_test": 0.01}
        gsm = {"exact_match,strict-match": 0.25, "exact_match,flexible-extract": 0.5}
        content = {"results": {"humaneval": measured, "gsm8k": gsm}, "model_name": name, "n-samples": {}}
        (folder / name).mkdir(parents=True)
        (folder / name / "results_2026.json").write_text(json.dumps(content))
        lines.append(f"{name},{name},{n},{d},{CHECKPOINTS},{d}")
    (folder / "runs.csv").write_text("\n".join(lines))
    both = tmp_path / "both.parquet"
    main(["collect", "--ladder", str(runs), "--also", str(folder), "--output", str(both)])
    table = read_measurements(both).table
    rates = table[(table.task == "codex_humaneval") & (table.metric == "rc_acc")]
    assert len(rates) == 16 and set(rates.chance) == {0.0} and set(rates.step) == {CHECKPOINTS}
    assert set(table[table.task == "gsm8k"].value) == {0.25}  # of several filters the first
    data = load_ladder(both)
    assert [task.name for task in data.tasks()] == ["codex_humaneval", "gsm8k"]
    assert np.isfinite(data.rungs[0].curve(data.tasks()[0], "rc_bpb").values).all()


def test_runs_that_the_ladder_does_not_have_are_refused(runs: Path, tmp_path: Path) -> None:
    frame = pass_rates(set())
    write(tmp_path / "pass.csv", frame.assign(run=frame.run.str.replace("190M-1xC", "190M-1C")))
    words = ["--ladder", str(runs), "--also", str(tmp_path / "pass.csv"), "--output", str(tmp_path / "x.parquet")]
    with pytest.raises(UserError, match=r'unknown run in .*pass\.csv "190M-1C"; did you mean "190M-1xC"'):
        main(["collect", *words])
    assert not (tmp_path / "x.parquet").exists()


def test_pass_rates_without_steps_are_joined_where_their_tokens_are(runs: Path, tmp_path: Path) -> None:
    ladder, both = str(runs), str(tmp_path / "both.parquet")
    main(["collect", "--ladder", ladder, "--output", str(tmp_path / "first.parquet")])
    final = pass_rates(set())
    final = final[final.step == CHECKPOINTS].drop(columns="step")
    write(tmp_path / "pass.csv", final)
    for first in (ladder, str(_without_steps(tmp_path))):
        main(["collect", "--ladder", first, "--also", str(tmp_path / "pass.csv"), "--output", both])
        for run in load_ladder(Path(both)).rungs:
            bpb, rate = (run.curves["codex_humaneval", "val", metric] for metric in ("rc_bpb", "rc_acc"))
            assert rate.steps.tolist() == bpb.steps[-1:].tolist() and rate.tokens.tolist() == [run.d]


def _without_steps(folder: Path) -> Path:
    frame = read_measurements(folder / "first.parquet").table
    return write(folder / "first.csv", frame.drop(columns="step"))


def test_runs_of_one_name_in_several_ladders_are_joined_each_to_its_own(tmp_path: Path) -> None:
    rows = [
        {"ladder": mix, "run": name, "n": n, "d": d, "task": "t", "metric": "rc_bpb", "value": loss}
        for mix, loss in (("a", 1.0), ("b", 2.0))
        for name, _, n, d in rungs()[:3]
    ]
    first, also = pd.DataFrame(rows), pd.DataFrame(rows[3:]).assign(metric="rc_acc", value=0.5, chance=0)
    both = tmp_path / "both.parquet"
    words = ["--ladder", str(write(tmp_path / "first.csv", first)), "--output", str(both)]
    main(["collect", *words, "--also", str(write(tmp_path / "also.csv", also))])
    table = read_measurements(both).table
    assert set(table[table.metric == "rc_acc"].ladder) == {"b"}
    with pytest.raises(UserError, match=r'unknown run in .*none\.csv "190M-1xC c"'):
        main(["collect", *words, "--also", str(write(tmp_path / "none.csv", also.assign(ladder="c")))])


def test_a_loss_and_an_accuracy_of_other_checkpoints_make_no_pair(tmp_path: Path) -> None:
    rows = [
        {"run": name, "n": n, "d": d, "step": step, "tokens": d * step / 8, "task": "t", "metric": metric, "value": v}
        for name, _, n, d in rungs()[:4]
        for step, metric, v in ((7, "rc_bpb", 1.0), (8, "rc_acc", 0.3))
    ]
    path = write(tmp_path / "odd.csv", pd.DataFrame(rows).assign(chance=0.25))
    with pytest.raises(UserError, match="run 190M-1xC: loss and accuracy were measured at no step in common"):
        main(["--ladder", str(path), "--n", "7e9", "--d", "2.8e12"])
