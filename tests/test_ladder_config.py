"""Where configurations are looked for: `configs/` of the current directory, then the project's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.__main__ import main
from ladder.config.config import ladder_from_config, load_config, sizes_of_all_ladders
from ladder.config.config_files import load_target, options
from ladder.config.plain_ladder import plain_ladder
from ladder.config.settings import LadderSettings
from ladder.errors import UserError
from ladder.files.bind import bind

MINE = """
name: mine
data: mine
vocab_size: 512
sizes:
  s1: {d_model: 8, n_layers: 1, n_heads: 1, ffn_hidden: 24}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `configs/` of a current directory whose path has a space, a comma, and an apostrophe."""
    folder = tmp_path / "Ann's runs, new" / "configs"
    (folder / "ladder").mkdir(parents=True)
    monkeypatch.chdir(folder.parent)
    return folder


def test_files_of_the_users_own_join_those_of_the_project(own: Path) -> None:
    (own / "data").mkdir()
    (own / "ladder" / "mine.yaml").write_text(MINE)
    (own / "data" / "mine.yaml").write_text("name: mine\ndirectory: somewhere\n")
    assert {"mine", "nano", "olmo2"} <= set(options("ladder"))
    config = load_config(["ladder=mine", "target=13B-5T"])
    assert set(ladder_from_config(config).sizes) == {"s1"}
    assert (config.data.directory, config.target.name) == ("somewhere", "13B-5T")
    assert "s1" in sizes_of_all_ladders()
    with pytest.raises(UserError, match='unknown ladder "mime"; did you mean "mine"'):
        load_config(["ladder=mime"])


def test_a_broken_file_of_another_ladder_is_passed_over(own: Path) -> None:
    (own / "ladder" / "mine.yaml").write_text(MINE.replace("data: mine", "data: sotu"))
    (own / "ladder" / "theirs.yaml").write_text("sizes: {t1: [")
    (own / "ladder" / "empty.yaml").write_text("")
    (own / "ladder" / "gone.yaml").symlink_to("nowhere")
    assert load_config(["ladder=mine", "cluster=slurm", "cluster.gpus={s1: 2, n0: 8}"]).cluster.gpus
    with pytest.raises(UserError, match=r'unknown size in cluster\.gpus "t1"'):
        load_config(["ladder=mine", "cluster=slurm", "cluster.gpus={s1: 2, t1: 8}"])
    with pytest.raises(UserError, match=r"theirs\.yaml is not valid YAML"):
        load_config(["ladder=theirs"])


def test_the_users_own_file_is_taken_before_one_of_that_name(own: Path) -> None:
    (own / "target").mkdir()
    (own / "target" / "13B-5T.yaml").write_text("name: 13B-5T\nn: 1.0e+9\nd: 2.0e+9\n")
    assert load_target("13B-5T").n == load_config().target.n == 1e9


def test_the_configs_of_another_project_are_left_alone(own: Path) -> None:
    (own / "config.yaml").write_text("defaults: [model: resnet]\nlr: 3\n")
    (own / "model").mkdir()
    assert load_config(["ladder=nano"]).ladder.name == "nano"


def test_a_minimal_ladder_has_defaults_for_the_rest(own: Path) -> None:
    (own / "data").mkdir()
    (own / "ladder" / "mine.yaml").write_text(MINE)
    (own / "data" / "mine.yaml").write_text("name: mine\ndirectory: somewhere\n")
    config = load_config(["ladder=mine"])
    ladder = ladder_from_config(config)
    assert [rung.name for rung in ladder.rungs] == ["s1-1xC", "s1-2xC", "s1-5xC", "s1-10xC"]
    assert (ladder.larger_sizes, config.suite.name, config.ladder.fit.window) == ({}, "olmes", 5)
    target, largest = config.chosen_target(ladder), ladder.rungs[-1]
    assert target.name == "10x-s1-10xC" and target.flops_6nd == pytest.approx(10 * largest.flops_6nd)
    run = load_config(["ladder=mine", "target=s1-20xC"]).chosen_target(ladder)
    assert (run.n, run.d) == (ladder.rung("s1-20xC").n, ladder.rung("s1-20xC").d)


def test_a_suite_that_short_sequences_cannot_hold_is_refused_before_training(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "data").mkdir()
    (own / "data" / "mine.yaml").write_text("name: mine\ndirectory: somewhere\n")
    (own / "ladder" / "mine.yaml").write_text(MINE)
    short = "ladder.recipe.sequence_length=128"
    for command in ("plan", "run"):
        with pytest.raises(UserError) as error:
            main([command, "ladder=mine", short])
        said = str(error.value)
        assert "suite olmes: answers of mmlu, piqa have up to 234 tokens, the models take 128" in said
        assert "suite=NAME" in said and "~suite.tasks.mmlu" in said
    main(["plan", "ladder=mine", short, "~suite.tasks.mmlu", "~suite.tasks.piqa"])
    assert "no suite is named" not in capsys.readouterr().err  # tasks were chosen on the command line
    main(["plan", "ladder=mine", "ladder.recipe.sequence_length=1024"])
    assert "no suite is named, so that olmes is measured" in capsys.readouterr().err
    main(["plan", "ladder=mine"])  # as long as the paper's
    assert "no suite is named" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds null: must be a mapping of name, vocab_size, sizes, data"),
        ("- 1", "holds a list: must be a mapping of name"),
        (MINE.replace("vocab_size", "vocab_sise"), 'unknown key "vocab_sise"; did you mean "vocab_size"?'),
        (MINE.replace("data: mine", ""), "data is missing"),
        (
            MINE.replace("data: mine", "data: {directory: x}"),
            "data = a mapping: must be the name of a file in configs/data",
        ),
        (MINE + "suite: [x]", "suite = a list: must be the name of a file in configs/suite"),
        (MINE.replace("n_heads: 1, ", ""), "sizes.s1.n_heads is missing"),
        (MINE.replace("s1:", "../s1:"), "must be a name"),
        (MINE + "defaults: [nano]", 'unknown key "defaults"'),
        (MINE + "recipe: {z_los: 1}", 'unknown key "ladder.recipe.z_los"; did you mean "z_loss"?'),
        (MINE + "suite: mmlu", 'unknown suite "mmlu"'),
        (MINE.replace("data: mine", "data: second"), 'mine.yaml: unknown data "second"'),
        (MINE.replace("data: mine", "data: second"), "a file of your own is configs/data/second.yaml"),
        (MINE.replace("s1:", "s 1:"), "must be a name of letters, digits and . _ + -"),
        (MINE + "target: 13B-6T", 'unknown target "13B-6T"; did you mean "13B-5T"?'),
        ("a: [", "is not valid YAML"),
        (MINE.replace("s1:", "yes:"), 'mine.yaml is not valid YAML: "yes" as a key is read as true or false; put it'),
        (MINE.replace("s1:", "~:"), '"~" as a key is read as null; put it into quotes (line 6'),
    ],
)
def test_a_bad_ladder_file_is_named_with_its_key(own: Path, text: str, words: str) -> None:
    (own / "data").mkdir()
    (own / "data" / "mine.yaml").write_text("name: mine\ndirectory: somewhere\n")
    (own / "ladder" / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_config(["ladder=mine"])
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINE.replace("s1:", "s1-1xC:"), "would be called s1-1xC-1xC, which does not say so"),
        (MINE + "multiples: [1, 1.0000001]", "a run of size s1 at multiple 1.0000001 would be called s1-1xC"),
        (MINE + "multiples: [1.0e+12]", "would be called s1-1e+12xC"),
        (
            MINE + "larger_sizes: {s1: {d_model: 16, n_layers: 1, n_heads: 1, ffn_hidden: 24}}",
            "s1 stands in sizes and in larger_sizes",
        ),
    ],
)
def test_names_of_runs_say_what_they_are(own: Path, text: str, words: str) -> None:
    (own / "data").mkdir()
    (own / "data" / "mine.yaml").write_text("name: mine\ndirectory: somewhere\n")
    (own / "ladder" / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        ladder_from_config(load_config(["ladder=mine"]))
    assert words in str(error.value)


def test_a_target_among_the_rungs_is_refused_before_the_text_is_prepared(own: Path) -> None:
    (own / "data").mkdir()
    (own / "data" / "mine.yaml").write_text("name: mine\ndirectory: somewhere\n")
    (own / "ladder" / "mine.yaml").write_text(MINE + "target: s1-2xC")
    with pytest.raises(UserError, match="target s1-2xC is a rung of the ladder itself"):
        main(["plan", "ladder=mine"])


def test_a_shape_that_no_model_has_is_named_with_its_file_and_size(own: Path) -> None:
    (own / "ladder" / "mine.yaml").write_text(MINE.replace("n_heads: 1", "n_heads: 3"))
    with pytest.raises(UserError, match=r"mine\.yaml: sizes\.s1 = a mapping: must give an even, whole head size"):
        load_config(["ladder=mine"])


def test_a_new_ladder_is_planned_as_it_is_and_never_written_over(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "mine"]) == 0
    out = capsys.readouterr().out
    assert "python scripts/prepare_data.py ladder=mine" in out and "python -m ladder plan ladder=mine" in out
    written = {path.relative_to(own): path.read_bytes() for path in own.rglob("*.yaml")}
    assert set(map(str, written)) == {"ladder/mine.yaml", "data/mine.yaml", "suite/mine.yaml"}
    assert main(["plan", "ladder=mine"]) == 0
    shown, notes = capsys.readouterr()
    assert "ladder.recipe" not in notes
    assert "16 rungs" in shown and "on this machine's CPU" in shown and "$" not in shown and "H100" not in shown
    for name, words in (
        ("mine", "there already"),
        ("nano", "there already"),
        ("../x", "must be a name"),
        ("a b", "letters"),
        ("7", "YAML reads no text there"),
        ("yes", "choose a name such as ladder-yes"),
    ):
        with pytest.raises(UserError, match=words):
            main(["new", name])
    with pytest.raises(UserError, match="python -m ladder new NAME"):
        main(["new"])
    assert {path.relative_to(own): path.read_bytes() for path in own.rglob("*.yaml")} == written


@pytest.mark.parametrize("name", options("ladder"))
def test_a_ladder_is_the_same_without_hydra(name: str) -> None:
    assert bind(LadderSettings, plain_ladder(name), "") == load_config([f"ladder={name}"]).ladder
