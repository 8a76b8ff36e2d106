"""A suite that changes after its ladder was measured: it is noticed by content, said, and what is new is measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from evaluate.tasks.asked_suite import AskedSuite, own_suite
from ladder.__main__ import main
from ladder.config.config import compose, config_of, load_config
from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.files.reading import read_yaml
from ladder.records.metrics_file import MetricsFile
from ladder.runs.adopt import adopt
from ladder.runs.rundir import RunDirectory

LADDER = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32", "rung=n0-1xC"]


def questions(path: Path, count: int = 20) -> Path:
    rows = [{"context": f"w{i + 1}", "choices": [" w3 w4", " w5 w6"], "gold": i % 2} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def entries(**node: object) -> dict[str, str]:
    return bind(SuiteSettings, {"name": "s", **node}, "suite").entries()


def test_entries_are_known_by_content(tmp_path: Path) -> None:
    first = questions(tmp_path / "a.jsonl")
    before = entries(tasks={"quiz": {"rc": str(first)}, "piqa": {"olmes": "piqa"}})
    assert sorted(before) == ["piqa", "quiz"]
    moved = shutil.copy(first, tmp_path / "b.jsonl")
    named = {"rc": str(moved), "split": "test", "primary": "acc_per_char"}  # what is meant where nothing is said
    assert entries(tasks={"quiz": named, "piqa": {"olmes": "piqa", "formats": ["mc", "gold", "rc"]}}) == before
    for changed in ({"split": "val"}, {"primary": "acc_raw"}, {"rc": str(questions(tmp_path / "c.jsonl", 21))}):
        assert entries(tasks={"quiz": named | changed})["quiz"] != before["quiz"]
    assert entries(tasks={"quiz": named}, max_length=64)["quiz"] != before["quiz"]
    assert entries(tasks={"piqa": {"olmes": "piqa", "limit": 9}})["piqa"] != before["piqa"]
    texts = {"wiki": {"text": str(first), "tokens": 9}}
    assert entries(lm_loss=texts, max_length=64).keys() == entries(lm_loss=texts).keys()
    assert entries(lm_loss=texts, max_length=64) != entries(lm_loss=texts)
    assert entries(tasks={"quiz": {"rc": str(tmp_path / "none.jsonl")}}) == {}  # nobody can say


def test_a_group_is_an_entry_that_is_not_measured(tmp_path: Path) -> None:
    (text := tmp_path / "text.txt").write_text("words")
    settings = bind(
        SuiteSettings,
        {
            "name": "s",
            "tasks": {"quiz": {"rc": str(questions(tmp_path / "a.jsonl"))}},
            "lm_loss": {"held": {"text": str(text), "tokens": 9}},
            "groups": {"all": {"metric": "acc", "of": ["quiz.rc"]}},
        },
        "suite",
    )
    assert sorted(settings.measured_entries()) == ["lm_loss/held", "quiz"]
    assert settings.entries() == settings.measured_entries() | {"group/all": settings.entries()["group/all"]}


@pytest.mark.parametrize("command", [("plan",), ("run", "--dry-run")])
def test_tasks_without_a_space_before_their_choices_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """As one writes them at first; `itmeows.` would be scored, and nothing else says so before the training."""
    glued, parted, gold = '"choices": ["meows.", "a"]', '"choices": [" meows.", " a"]', '"answer": "meows."'
    lines = {name: f'{{"context": "The cat, it", {text}, "gold": 0}}\n' for name, text in (("a", glued), ("b", parted))}
    files = {
        "glued": {"rc": lines["a"] * 2 + lines["b"]},
        "half": {"rc": lines["a"] + lines["b"], "gold": f'{{"context": "it", {gold}}}\n'},
        "each": {"mc": '{"context": ["x", "it"], "choices": ["!", "a"], "gold": 0}\n'},
        "odd": {"rc": "{"},
    }
    words = []
    for name, forms in files.items():
        for form, text in forms.items():
            (tmp_path / f"{name}.{form}.jsonl").write_text(text)
            words.append(f"+suite.tasks.{name}.{form}={tmp_path}/{name}.{form}.jsonl")
    main([*command, "ladder=nano", f"runs_dir={tmp_path}", f"data.directory={tmp_path / 'none'}", *words])
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "without a space" in line]
    assert note.startswith("note: glued.rc, half.gold, each.mc: most choices")


@pytest.mark.slow
def test_a_suite_that_grows_or_changes_is_measured(
    command: Callable, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path / 'runs'}"]
    done = command("-m", "train", *words, "train.evaluate=true")
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "runs" / "nano" / "n0-1xC")
    measured = len(run.metrics_files())
    assert main(["status", *words]) == 0 and "another suite" not in capsys.readouterr().out

    words.append(f"+suite.tasks.more.rc={questions(tmp_path / 'more.jsonl')}")
    for answer in ("new", "changed"):
        assert main(["status", *words]) == 3
        said = " ".join(capsys.readouterr().out.split())
        assert f"{measured} checkpoints measured with another suite than nano now is" in said, answer
        before = [MetricsFile.load(path) for path in run.metrics_files()]
        done = command("-m", "ladder", "run", *words)
        assert done.returncode == 0, done.stderr
        assert f"{measured} checkpoints measured with another suite" in done.stdout
        assert main(["status", *words]) == 0
        for path, old in zip(run.metrics_files(), before, strict=True):
            now = MetricsFile.load(path)
            assert {row.task: row.n for row in now.results}["more"] == (20 if answer == "new" else 9)
            assert [row for row in now.results if row.task != "more"] == [r for r in old.results if r.task != "more"]
        assert "more" in (own_suite(run.config_file).tasks or {})
        questions(tmp_path / "more.jsonl", 9)


def test_a_run_carries_the_present_suite_target_and_sizes(corpus: Path, tmp_path: Path) -> None:
    from ladder.config.data import open_data
    from ladder.runs.identity import run_identity
    from train.__main__ import begin

    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "train.log_every=3"]
    run = RunDirectory(tmp_path / "run")

    def start(*more: str) -> None:
        node = compose([*words, *more])
        config = config_of(node)
        rung = config.ladder.build().rung("n0-1xC")
        begin(node, rung, run, run_identity(config, rung, open_data(config.data)))

    start()
    record = run.run_file.read_text()
    start("suite.tasks.word.split=val")  # the first one was wrong: a restart has the corrected one
    assert own_suite(run.config_file).tasks["word"].split == "val" and run.run_file.read_text() == record

    sizes = "+ladder.sizes.n9={d_model: 8, n_layers: 1, n_heads: 1, ffn_hidden: 8}"
    config = load_config([*words, "train.log_every=7", "target=n3-20xC", "~suite.tasks.word", sizes])
    adopt(config, run)
    node = read_yaml(run.config_file)
    assert (node["target"]["name"], "word" in node["suite"]["tasks"], "n9" in node["ladder"]["sizes"]) == (
        "n3-20xC", False, True,
    )  # fmt: skip
    assert node["train"]["log_every"] == 3  # how it was trained
    content = run.config_file.stat()
    adopt(config, run)
    assert run.config_file.stat() == content
    run.config_file.write_text("[1]")
    with pytest.raises(UserError, match=r"config\.yaml must hold keys and values"):
        adopt(config, run)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a suite of its own, and a run's config.yaml beside it."""
    (tmp_path / "configs" / "suite").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    questions(tmp_path / "quiz.jsonl")
    node = {"name": "mine", "tasks": {"quiz": {"rc": "${data.directory}/quiz.jsonl"}}}
    (tmp_path / "configs" / "suite" / "mine.yaml").write_text(yaml.safe_dump(node))
    config = {"data": {"directory": "."}, "suite": {"name": "mine", "tasks": {"quiz": {"rc": "./quiz.jsonl"}}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def rc_of(run_config: Path | None, *words: str) -> str | None:
    tasks = AskedSuite(words=words).settings(run_config).tasks
    assert tasks is not None
    return next(iter(tasks.values())).rc


def test_a_suite_by_name_or_file_is_on_the_data_of_the_run(own: Path) -> None:
    run = own / "config.yaml"
    for name in ("mine", "configs/suite/mine.yaml"):
        assert rc_of(run, f"suite={name}") == "./quiz.jsonl"
        assert rc_of(run, f"suite={name}", "ladder=nano") == "data/sotu/quiz.jsonl"  # the words go before the run
        assert rc_of(run, f"suite={name}", "data=sotu", "data.directory=there") == "there/quiz.jsonl"
        assert rc_of(None, f"suite={name}", "ladder=nano") == "data/sotu/quiz.jsonl"
    assert rc_of(run, "suite.tasks.quiz.rc=x") == "x"
    assert rc_of(run, "suite=nano") == "./suite/next_phrase.jsonl"
    with pytest.raises(UserError, match='unknown suite "nanoo"; did you mean "nano"'):
        rc_of(run, "suite=nanoo")
    run.write_text("suite: {name: mine}\n")
    with pytest.raises(UserError, match="suite mine has neither tasks nor lm_loss"):
        rc_of(run)
    with pytest.raises(UserError, match=r"suite=mine: .*data\.directory"):
        rc_of(run, "suite=mine")


def test_a_suite_file_that_changed_since_is_said(own: Path) -> None:
    run, asked = own / "config.yaml", AskedSuite(words=())
    assert asked.changed_since(run, asked.settings(run)) == ""
    file = own / "configs" / "suite" / "mine.yaml"
    file.write_text(file.read_text() + "  more: {rc: quiz.jsonl}\n")
    line = asked.changed_since(run, asked.settings(run))
    assert line.startswith("suite mine has changed since these runs were made (more)") and "ladder run" in line
    assert AskedSuite(words=("suite=mine",)).changed_since(run, asked.settings(run)) == ""  # it was asked for
