"""Whether a bad rung is named by its own files: on run directories as training leaves them, written by hand."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import write_shards
from simulated_ladder import LM_LOSS

from ladder.__main__ import main
from ladder.check.page import print_page
from ladder.check.recorded import finished_check
from ladder.config.config import load_config
from ladder.config.data import open_data
from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.files.writing import write_json, write_text
from ladder.jobs.launch import Launch
from ladder.records.checks import Check, Subject, Verdict, checks_of, exit_code
from ladder.records.metrics_file import LmLossResult, MetricsFile, Provenance
from ladder.records.run_record import RunRecord
from ladder.rungs.rung import Rung
from ladder.rungs.sweep import sweep_rungs
from ladder.runs.identity import run_identity
from ladder.runs.rundir import RUNG_FILE, LadderDirectory, RunDirectory
from ladder.runs.status import ladder_status

ROWS = 100
NOISE = 0.01  # nats, of a row of a log
SCALE = 1e4  # of a nano model to one that LM_LOSS is of


def log_rows(rung: Rung, random: np.random.Generator) -> list[dict[str, Any]]:
    steps = np.unique(np.linspace(1, rung.hparams.total_steps, ROWS).round().astype(int)).tolist()
    return [
        {
            "step": step,
            "loss": loss_at(rung, step) + NOISE * random.standard_normal(),
            "lr": rung.hparams.lr_at(step),
            "grad_norm": 0.3 * float(np.exp(0.1 * random.standard_normal())),
            "skipped": 0,
            "left_out": 0.0,
        }
        for step in steps
    ]


def loss_at(rung: Rung, step: int) -> float:
    return float(LM_LOSS(SCALE * rung.n, SCALE * step * rung.hparams.batch_tokens))


def write_run(
    config: Config, rung: Rung, change: Callable[[dict[str, Any]], Any] = lambda record: None
) -> RunDirectory:
    """A finished, measured run; `change` alters what run.json says."""
    run = LadderDirectory(config.directory).run(rung.name)
    record = vars(run_identity(config, rung, None)) | {"data_fingerprint": "text"}
    record |= {"run": rung.name, "config_hash": "x", "git_revision": "x", "total_steps": rung.hparams.total_steps}
    record |= {"checkpoint_steps": rung.hparams.checkpoint_steps, "schema": 1}
    change(record)
    write_json(run.run_file, record)
    assert RunRecord.load(run.run_file)
    write_text(run.config_file, yaml.safe_dump(plain(dataclasses.asdict(config))))
    random = np.random.default_rng([rung.n, rung.d])
    write_log(run, log_rows(rung, random))
    write_json(run.checkpoint(rung.hparams.total_steps) / RUNG_FILE, {})
    for step in rung.hparams.checkpoint_steps:
        nats = loss_at(rung, step) * (1 + 0.001 * random.standard_normal())
        write_metrics(run, rung, step, nats)
    return run


def plain(value: Any) -> Any:
    """As a file of a configuration holds it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def write_log(run: RunDirectory, rows: Iterable[dict[str, Any]]) -> None:
    run.log_file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_metrics(run: RunDirectory, rung: Rung, step: int, nats: float) -> None:
    loss = LmLossResult(name="text", nats_per_token=nats, bits_per_byte=nats, tokens=1000, stderr=0.0)
    MetricsFile(
        **{"run": rung.name, "size": rung.size, "n": rung.n, "d": rung.d, "step": step},  # type: ignore[arg-type]
        tokens=step * rung.hparams.batch_tokens,
        results=(),
        gold=(),
        lm_loss=(loss,),
        suite="nano",
        max_length=128,
        tries=True,
        git_revision="",
        versions={},
        provenance=Provenance(weights="", tokenizer="", dtype="fp32"),
    ).dump(run.metrics_file(step))


class Simulated:
    """A ladder of four nano sizes on disk, its text, and what `python -m ladder check` says of it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_shards(directory / "data", {"train": np.zeros(4_000_000, np.int64)}, 512)
        fourth = "+ladder.sizes.n4={d_model: 24, n_layers: 2, n_heads: 2, ffn_hidden: 64}"
        self.words = ["ladder=nano", fourth, f"runs_dir={directory / 'runs'}", f"data.directory={directory / 'data'}"]
        self.config = load_config(self.words)
        self.ladder = self.config.ladder.build()
        self._capsys = capsys
        for rung in self.ladder.rungs:
            write_run(self.config, rung)

    def run(self, name: str) -> RunDirectory:
        return LadderDirectory(self.config.directory).run(name)

    def checked(self, *words: str) -> tuple[int, dict[Subject, Check]]:
        self._capsys.readouterr()
        code = main(["check", *self.words, "--json", *words])
        return code, {one.subject: one for one in checks_of(json.loads(self._capsys.readouterr().out), "check")}


@pytest.fixture
def simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Simulated:
    return Simulated(tmp_path, capsys)


def names_of(check: Check) -> list[str]:
    return [one.run for one in check.named]


def test_a_clean_ladder_is_not_named(simulated: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = simulated.checked()
    assert {subject: names_of(one) for subject, one in found.items() if one.named} == {}
    assert code == 0 and len(found[Subject.LAW].judged) == len(found[Subject.RULE].judged) == 16
    print_page("nano", list(found.values()))
    page = capsys.readouterr().out
    assert "16 of 16 runs" in page and "bad" not in page


def test_a_ladder_of_which_no_rung_was_begun_is_refused(tmp_path: Path) -> None:
    words = ["ladder=nano", f"runs_dir={tmp_path}", f"data.directory={tmp_path / 'none'}"]
    with pytest.raises(UserError, match="nano holds no run of these rungs to check; python -m ladder run"):
        main(["check", *words])


def test_a_ladder_of_two_schedules_that_is_half_measured(
    simulated: Simulated, capsys: pytest.CaptureFixture[str]
) -> None:
    for rung in simulated.ladder.rungs:
        if rung.multiple == 8:
            shutil.rmtree(simulated.run(rung.name).metrics)
    _, found = simulated.checked()
    assert len(found[Subject.LAW].judged) == 12 and found[Subject.LAW].verdict is Verdict.OK
    odd = simulated.ladder.rung("n1-2xC")
    write_run(simulated.config, odd, lambda record: record["hparams"].update(schedule="wsd"))
    code, found = simulated.checked()
    assert code == 3 and found[Subject.RULE].named[0].names == ("schedule",)
    assert found[Subject.LAW].verdict is Verdict.UNKNOWN
    print_page("nano", list(found.values()))
    assert "mixes learning-rate schedules" in " ".join(capsys.readouterr().out.split())


def test_every_fault_is_named_at_its_run(simulated: Simulated, tmp_path: Path) -> None:
    """One fault each, all in one ladder, since a check takes a second."""

    def twice(record: dict[str, Any]) -> None:
        record["hparams"]["peak_lr"] *= 2

    def other_text(record: dict[str, Any]) -> None:
        record["data_fingerprint"] = "half"

    rung = simulated.ladder.rung
    write_run(simulated.config, rung("n1-2xC"), twice)
    write_run(simulated.config, rung("n2-4xC"), other_text)
    rows = log_rows(rung("n0-2xC"), np.random.default_rng(0))
    write_log(simulated.run("n0-2xC"), [row | {"lr": 2 * row["lr"]} for row in rows])
    rows = log_rows(rung("n4-2xC"), np.random.default_rng(0))
    rows[60]["loss"] += 20 * NOISE
    write_log(simulated.run("n4-2xC"), rows)
    off = rung("n1-4xC")
    for step in off.hparams.checkpoint_steps:
        write_metrics(simulated.run(off.name), off, step, 1.02 * loss_at(off, step))
    late = rung("n2-2xC")
    for step in late.hparams.checkpoint_steps[:-1]:
        share = step / late.hparams.total_steps
        write_metrics(simulated.run(late.name), late, step, loss_at(late, step) * (1 + 0.1 * (1 - share)))

    write_shards(tmp_path / "few", {"train": np.zeros(2_000_000, np.int64)}, 512)
    write_run(load_config([*simulated.words, f"data.directory={tmp_path / 'few'}"]), rung("n4-8xC"))
    code, found = simulated.checked()
    assert code == 3
    assert {subject: names_of(one) for subject, one in found.items() if one.named} == {
        Subject.RULE: ["n0-2xC", "n1-2xC"],
        Subject.DATA: ["n2-4xC"],
        Subject.EPOCHS: ["n4-8xC"],
        Subject.SPIKES: ["n4-2xC"],
        Subject.LAW: ["n1-4xC"],
        Subject.COLLAPSE: ["n2-2xC"],
    }
    assert found[Subject.RULE].named[1].values["peak_lr"] == pytest.approx(2)


def test_a_damaged_record_is_one_error(simulated: Simulated) -> None:
    run = simulated.run("n0-1xC")
    run.run_file.write_text("{")
    with pytest.raises(UserError, match=str(run.run_file)):
        simulated.checked()


def test_a_run_that_stopped_or_failed(simulated: Simulated) -> None:
    for name, error in (("n0-1xC", None), ("n1-1xC", "UserError: 10 updates skipped")):
        run = simulated.run(name)
        (run.checkpoint(simulated.ladder.rung(name).hparams.total_steps) / RUNG_FILE).unlink()
        run.checkpoint(simulated.ladder.rung(name).hparams.total_steps).rmdir()
        rows = [{"event": "start", "host": "elsewhere", "pid": 1}, {"event": "end", "error": error}]
        run.events_file.write_text("".join(json.dumps(row) + "\n" for row in rows[: 1 + (error is not None)]))
        old = 1.0
        for path in (run.events_file, run.log_file):
            os.utime(path, (old, old))
    found = finished_check(ladder_status(LadderDirectory(simulated.config.directory), simulated.ladder.rungs))
    assert [(one.run, one.verdict) for one in found.named] == [("n1-1xC", Verdict.BAD), ("n0-1xC", Verdict.LOOK)]
    assert found.named[0].names == ("UserError: 10 updates skipped",)
    assert exit_code([found]) == 3


def test_a_sweep_is_planned_shown_and_started_as_rungs_are(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32", f"data.directory={corpus}"]
    words.append(f"runs_dir={tmp_path}")
    config = load_config(words)
    text = open_data(config.data).fingerprint
    write_run(config, config.ladder.build().rung("n0-1xC"), lambda record: record.update(data_fingerprint=text))
    assert main(["plan", "--sweep", "--json", *words]) == 0
    rungs = {one["rung"]: one for one in json.loads(capsys.readouterr().out)["rungs"]}
    assert len(rungs) == 27 and rungs["n0-1xC-lr2"]["peak_lr"] == 2 * rungs["n0-1xC"]["peak_lr"]
    assert main(["status", "--sweep", *words]) == 3
    assert "n0-1xC-lr0.25" in capsys.readouterr().out
    assert main(["check", "--sweep", "--dry-run", *words]) == 0
    lines = capsys.readouterr().out
    assert "26 rungs" in lines and "rung=n1-1xC-batch2-lr0.5" in lines and "rung=n0-1xC " not in lines
    for wrong in (["--dry-run"], ["--sweep", "--sizes", "n0"], ["--csv"], ["rung=n0-1xC"]):
        with pytest.raises(UserError):
            main(["check", *words, *wrong])


def test_json_after_a_sweep_is_json_alone(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Launch, "check_prepared", lambda _: "")
    monkeypatch.setattr(Launch, "check", lambda _: None)
    monkeypatch.setattr(Launch, "run", lambda _, report: report("n0-1xC-lr2 started") or True)
    code, found = simulated.checked("--sweep")
    assert code == 0 and Subject.LAW in found
    monkeypatch.setattr(Launch, "run", lambda _, report: False)  # SLURM has it
    assert main(["check", "--sweep", "--json", *simulated.words]) == 1
    out, err = capsys.readouterr()
    assert not out and err.splitlines()[-1].startswith("once they have ended, what they show: python -m ladder check")


def test_what_was_swept_is_on_the_page(simulated: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    for rung in sweep_rungs(simulated.ladder):
        if rung.variation.tag:
            run = write_run(simulated.config, rung)
            last = rung.hparams.total_steps
            off = 0.02 * (np.log2(rung.variation.lr) - 1.2) ** 2 - 0.02 * 1.2**2 * (rung.variation.batch == 1)
            write_metrics(run, rung, last, loss_at(rung, last) * float(np.exp(off)))
    code, found = simulated.checked()
    assert code == 3 and names_of(found[Subject.RATE]) == ["n0-1xC", "n0-4xC", "n1-1xC"]
    assert found[Subject.RATE].named[0].values["optimum"] == pytest.approx(2**1.2, rel=0.1)
    assert not found[Subject.LAW].named  # points of a sweep are no rungs
    print_page("nano", list(found.values()))
    page = capsys.readouterr().out
    assert "times the rule's rate" in page and "set the recipe's rate to the optimum" in page
