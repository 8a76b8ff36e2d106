"""The order of `make mini`: predictions are made before a target is begun, once, and kept as they were."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import mini
import steps

from ladder.config.config import load_config
from ladder.errors import UserError
from ladder.files.writing import write_text
from ladder.runs.rundir import LadderDirectory


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The predictions that were asked for, each of which says its place in that order."""
    asked: list[tuple[str, str]] = []

    def register(directory: LadderDirectory, target: str, method: str, path: Path) -> None:
        asked.append((target, method))
        write_text(path, json.dumps({"place": len(asked)}))

    monkeypatch.setattr(mini, "register", register)
    return asked


def test_predictions_are_made_once(tmp_path: Path, made: list[tuple[str, str]]) -> None:
    directory = LadderDirectory(tmp_path)
    first = mini.predict(directory)
    directory.run("0.5M-5xC").path.mkdir()
    assert mini.predict(directory) == first
    assert [f"{target}-{method}.json" for target, method in made] == [path.name for path in first] and len(made) == 4


def test_a_stopped_call_goes_on_with_the_forecasts_that_are_missing(
    tmp_path: Path, made: list[tuple[str, str]]
) -> None:
    directory = LadderDirectory(tmp_path)
    written = tmp_path / "predictions" / "0.5M-5xC-default.json"
    write_text(written, "{}")
    assert mini.predict(directory)[0] == written and len(made) == 3


def test_no_prediction_of_a_target_that_was_begun(tmp_path: Path, made: list[tuple[str, str]]) -> None:
    directory = LadderDirectory(tmp_path)
    directory.run("1.5M-5xC").path.mkdir()
    with pytest.raises(UserError, match=r"1\.5M-5xC was begun before"):
        mini.predict(directory)
    assert not made and not (tmp_path / "predictions").exists()


def test_a_changed_prediction_is_not_compared(tmp_path: Path, made: list[tuple[str, str]]) -> None:
    directory = LadderDirectory(tmp_path)
    mini.predict(directory)
    (tmp_path / "predictions" / "0.5M-5xC-paper.json").write_text('{"place": 9}')
    with pytest.raises(UserError, match=r"0\.5M-5xC-paper\.json was changed"):
        mini.predict(directory)


def test_text_too_short_for_the_far_target_is_refused_before_the_ladder_trains(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(mini, "run", lambda *command: commands.append(command))
    monkeypatch.setattr(mini.os, "nice", lambda _: 0)
    with pytest.raises(UserError, match=r"too few for 1\.5M-5xC, which would read them .* data\.max_epochs"):
        mini.main([f"data.directory={corpus}", f"runs_dir={tmp_path}"])
    assert [command[1] for command in commands] == ["scripts/prepare_data.py"]


def test_the_ladder_is_a_tenth_of_its_target() -> None:
    ladder = load_config(["ladder=mini"]).ladder.build()
    cost = sum(rung.flops_6nd for rung in ladder.rungs)
    largest = max(ladder.rungs, key=lambda rung: rung.flops_6nd)
    near, far = (ladder.rung(name) for name in mini.TARGETS)
    assert cost / far.flops_6nd == pytest.approx(0.1, abs=0.01)
    assert far.flops_6nd / largest.flops_6nd == pytest.approx(28, abs=1)
    assert near.flops_6nd / largest.flops_6nd == pytest.approx(3, abs=0.2)
    for target in (near, far):
        config = load_config([f"target={target.name}"]).target
        assert (config.n, config.d) == (target.n, target.d)


def test_an_interrupted_command_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the shell is back while trainings still save, and the same command finds them at work."""
    waits: list[str] = []

    def wait() -> int:
        waits.append("wait")
        if len(waits) == 1:
            raise KeyboardInterrupt
        return 130

    with pytest.raises(KeyboardInterrupt):
        steps.end(SimpleNamespace(wait=wait))
    assert len(waits) == 2
