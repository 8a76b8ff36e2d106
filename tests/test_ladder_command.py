"""The command line of `python -m ladder`: a help for each verb, and groups of the configuration by name or by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.__main__ import main
from ladder.config.config import load_config
from ladder.errors import UserError

LADDER = """
name: mine
data: sotu
suite: nano
vocab_size: 512
sizes:
  s1: {d_model: 8, n_layers: 1, n_heads: 1, ffn_hidden: 24}
"""
OWN = {
    "plan": "--csv",
    "run": "--dry-run",
    "status": "--watch",
    "check": "--json",
    "cancel": "--sizes",
    "predict": "--sizes",
}


@pytest.mark.parametrize("verb", OWN)
def test_each_verb_has_its_own_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and shown.startswith(f"usage: python -m ladder {verb} ")
    assert OWN[verb] in shown and "ladder=NAME" in shown
    assert [option for option in ("--csv", "--watch") if option in shown] == [OWN[verb]] * (verb in ("plan", "status"))


def test_the_help_of_all_names_every_verb_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.split()[:1] == [verb] for line in lines) for verb in ("new", *OWN))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: VERB"),
        (["--json", "plan"], "the verb stands first: python -m ladder plan"),
        (["ladder=nano"], "say what to do: python -m ladder VERB ladder=nano"),
        (["pln"], 'unknown command "pln"; did you mean "plan"?'),
        (["run", "--json"], "--json belongs to python -m ladder plan and check"),
    ],
)
def test_what_is_said_of_a_verb_that_is_none(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        main(words)
    assert said in str(error.value)


def test_groups_are_named_by_the_paths_of_their_files_too(tmp_path: Path) -> None:
    ladder, data, suite = (tmp_path / f"{name} of mine, here.yaml" for name in ("ladder", "data", "suite"))
    ladder.write_text(LADDER)
    config = load_config([f"ladder={ladder}"])
    assert (config.ladder.name, config.data.name, config.suite.name) == ("mine", "sotu", "nano")
    data.write_text("name: second\ndirectory: elsewhere\n")
    suite.write_text("name: quiz\ntasks: {quiz: {rc: '${data.directory}/quiz.jsonl'}}\n")
    config = load_config([f"ladder={ladder}", f"data={data}", f"suite={suite}", "data.max_epochs=3"])
    assert (config.data.name, config.data.directory, config.data.max_epochs) == ("second", "elsewhere", 3)
    assert config.suite.tasks and config.suite.tasks["quiz"].rc == "elsewhere/quiz.jsonl"
    assert load_config(["ladder=nano"]).ladder.name == "nano"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ladder={}/none.yaml", "none.yaml does not exist"),
        ("data={}/odd.yaml", "odd.yaml is not valid YAML"),
        ("ladder={}/data.yaml", 'data.yaml: unknown key "directory"'),
        ("data={}/short.yaml", "short.yaml: data.directory is missing, and another setting refers to it"),
        ("data={}", "a file of your own is data=FILE.yaml"),
        ("data=none", "a file of your own is configs/data/none.yaml, or data=FILE.yaml"),
    ],
)
def test_a_path_that_leads_to_none_is_named(tmp_path: Path, word: str, said: str) -> None:
    (tmp_path / "odd.yaml").write_text("a: [")
    (tmp_path / "data.yaml").write_text("name: x\ndirectory: y\n")
    (tmp_path / "short.yaml").write_text("name: x\n")
    with pytest.raises(UserError) as error:
        load_config(["ladder=nano", word.format(tmp_path)])
    assert said in str(error.value)
