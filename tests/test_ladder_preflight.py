"""What is checked before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.files.writing import write_json
from ladder.jobs.preflight import check_names, check_suite


def manifest(directory: Path, tokens: int) -> None:
    shard = {"file": "val-00000.bin", "tokens": tokens, "sha256": "0"}
    splits = {"val": {"bytes": 4 * tokens, "shards": [shard]}}
    content = {"schema": 1, "dtype": "<u2", "vocab_size": 100, "tokenizer_sha256": "0", "splits": splits}
    write_json(directory / "manifest.json", content)


def suite(directory: Path) -> SuiteSettings:
    node = {
        "name": "mine",
        "tasks": {"quiz": {"rc": str(directory / "quiz.jsonl"), "split": "val"}},
        "lm_loss": {"heldout": {"shards": str(directory), "split": "val", "tokens": 100}},
    }
    return bind(SuiteSettings, node, "suite")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"olmes": "arc_eazy"}, 'suite mine, task quiz: unknown OLMES task "arc_eazy"; did you mean "arc_easy"'),
        ({"olmes": "arc_easy:vall"}, "suite mine, task quiz: arc_easy:vall: arc_easy is not there so"),
        ({"olmes": "gsm8k", "formats": ["rc", "mc"]}, "gsm8k is there in none of the formats rc, mc"),
    ],
)
def test_tasks_that_olmes_does_not_have_are_refused(task: dict[str, Any], said: str) -> None:
    for fitting in ({"olmes": "arc_easy:val", "formats": ["rc"]}, {"olmes": "gsm8k"}):
        check_names(bind(SuiteSettings, {"name": "mine", "tasks": {"quiz": fitting}}, "suite"))
    with pytest.raises(UserError, match=re.escape(said)):
        check_names(bind(SuiteSettings, {"name": "mine", "tasks": {"quiz": task}}, "suite"))


def test_a_suite_without_its_questions_or_with_too_little_text_is_refused(tmp_path: Path) -> None:
    manifest(tmp_path, 100)
    with pytest.raises(UserError, match=r"suite mine, task quiz: .*quiz\.jsonl does not exist or is empty"):
        check_suite(suite(tmp_path))
    (tmp_path / "quiz.jsonl").touch()
    with pytest.raises(UserError, match="is empty"):
        check_suite(suite(tmp_path))
    (tmp_path / "quiz.jsonl").write_text("{}\n")
    check_suite(suite(tmp_path))
    manifest(tmp_path, 99)
    with pytest.raises(
        UserError, match=r"lm_loss heldout: tokens=100, but split val of .* has 99 tokens; ask for fewer"
    ):
        check_suite(suite(tmp_path))
