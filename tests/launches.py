"""A ladder's launch and its jobs, of which none is started."""

from __future__ import annotations

from pathlib import Path

from ladder.config.config import ladder_from_config, load_config
from ladder.jobs.jobs import Job
from ladder.jobs.launch import Launch


def launch(tmp_path: Path, *words: str) -> Launch:
    overrides = ("ladder=nano", f"runs_dir={tmp_path}", *words)
    config = load_config(overrides)
    ladder = ladder_from_config(config)
    return Launch(config=config, overrides=overrides, ladder=ladder, rungs=tuple(ladder.rungs))


def jobs_of(one: Launch) -> list[Job]:
    return one.jobs(one.files())
