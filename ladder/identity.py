"""What makes two runs the same run."""

from __future__ import annotations

from typing import Any

from ladder.data import Mix
from ladder.errors import UserError
from ladder.hashing import json_sha256
from ladder.reading import read_json
from ladder.rundir import RUN_FILE, RUNG_FILE, RunDirectory
from ladder.rung import Rung
from ladder.settings import Config


def run_identity(config: Config, rung: Rung, mix: Mix | None) -> dict[str, Any]:
    """What makes two runs the same run; anything else may differ between a start and a restart.

    But for what also depends on the machine, precision and the weights' dtype: the resume state holds those.
    Without a mix the data is left out.
    """
    return {
        "ladder": config.ladder.name,
        "size": rung.size,
        "multiple": rung.multiple,
        "n": rung.n,
        "d": rung.d,
        "shape": vars(rung.shape),
        "hparams": vars(rung.hparams),
        "recipe": vars(config.ladder.recipe),
        "seed": config.seed,
        "document_mask": config.train.document_mask,
        **({"data_fingerprint": mix.fingerprint} if mix else {}),
    }


def check_identity(run: RunDirectory, identity: dict[str, Any]) -> None:
    """Refuses to go on with a run that was begun with other values."""
    if not run.run_file.exists():
        if "data_fingerprint" in identity:
            _check_checkpoints(run, json_sha256(identity))
        return
    before, now = {"recipe.ngram_max_length": 0} | _flat(run.run_info()), _flat(identity)  # older runs left nothing out
    if now.get("recipe.ngram_max_length") == 0:
        before.pop("recipe.ngram_max_repeats", None)
        now.pop("recipe.ngram_max_repeats")
    changed = [
        f"{key}: {before.get(key, 'absent')} there, {value} now"
        for key, value in now.items()
        if before.get(key) != value
    ]
    if changed:
        raise UserError(
            f"{run.path} was begun with another configuration ({'; '.join(changed)}); "
            "use those values, another runs_dir, or remove that directory"
        )


def _check_checkpoints(run: RunDirectory, config_hash: str) -> None:
    """Where run.json was lost, its checkpoints still say what the run was."""
    steps = run.checkpoint_steps()[-1:]
    if not steps and any(path for place in (run.resume, run.branches) for path in place.glob("step-*")):
        raise UserError(
            f"{run.path} has a state to resume from, but no {RUN_FILE} that says what it is of; "
            "put that file back, or remove that directory"
        )
    for step in steps:
        file = run.checkpoint(step) / RUNG_FILE
        if read_json(file).get("config_hash") != config_hash:
            raise UserError(
                f"{run.path} has no {RUN_FILE}, and {file} is of another configuration; "
                "use that one, another runs_dir, or remove that directory"
            )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, item in value.items():
        out |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return out
