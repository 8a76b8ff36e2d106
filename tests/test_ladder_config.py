"""Where configurations are looked for: `configs/` of the current directory, then the project's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladder.cluster import sizes_of_all_ladders
from ladder.config import ladder_from_config, load_config, load_target, options
from ladder.errors import UserError

MINE = """
defaults:
  - nano
  - override /data@_global_.data: mine
  - _self_
name: mine
sizes: {s1: {d_model: 8, n_layers: 1, n_heads: 1, ffn_hidden: 24}}
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
    assert set(ladder_from_config(config).sizes) == {"n0", "n1", "n2", "n3", "s1"}  # on top of the project's nano
    assert (config.data.directory, config.target.name) == ("somewhere", "13B-5T")
    assert "s1" in sizes_of_all_ladders()
    with pytest.raises(UserError, match='unknown ladder "mime"; did you mean "mine"'):
        load_config(["ladder=mime"])


def test_the_users_own_file_is_taken_before_one_of_that_name(own: Path) -> None:
    (own / "target").mkdir()
    (own / "target" / "13B-5T.yaml").write_text("name: 13B-5T\nn: 1.0e+9\nd: 2.0e+9\n")
    assert load_target("13B-5T").n == load_config().target.n == 1e9


def test_the_configs_of_another_project_are_left_alone(own: Path) -> None:
    (own / "config.yaml").write_text("defaults: [model: resnet]\nlr: 3\n")
    (own / "model").mkdir()
    assert load_config(["ladder=nano"]).ladder.name == "nano"
