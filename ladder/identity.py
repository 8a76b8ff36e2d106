"""What makes two runs the same run, and which settings a run can have; checked before anything is written or spent."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from ladder.config import ladder_from_config
from ladder.data import Mix
from ladder.errors import UserError, unknown
from ladder.hashing import json_sha256
from ladder.reading import read_json
from ladder.rundir import RUN_FILE, RUNG_FILE, RunDirectory
from ladder.rung import Rung

CHOICES = {
    "train.precision": ("auto", "bf16", "fp32"),
    "train.weights": ("fp32", "bf16"),
    "train.parallel": ("ddp", "fsdp2"),
    "train.compile": ("auto", True, False),
    "train.evaluate": (True, False),
    "train.document_mask": (True, False),
    "profile": (True, False),
}


def check_settings(config: DictConfig) -> None:
    """Raises UserError for a number or a choice that is none or is out of range, before anything is written."""
    least = {"seed": 0, "train.log_every": 1, "train.max_skipped": 1}
    optional = {"train.micro_batch": 1, "train.keep_checkpoints": 1}
    for key, smallest in (least | optional).items():
        value = OmegaConf.select(config, key)
        if not (value is None and key in optional) and (type(value) is not int or value < smallest):
            allowed = " or null" if key in optional else ""
            raise UserError(f"{key}={value} must be a whole number of at least {smallest}{allowed}")
    for key, known in CHOICES.items():
        value = OmegaConf.select(config, key)
        if not any(type(value) is type(one) and value == one for one in known):  # 1 == True
            raise unknown(key, str(value), [str(one).lower() if isinstance(one, bool) else one for one in known])
    if not isinstance(config.runs_dir, str) or not config.runs_dir:
        raise UserError(f"runs_dir={config.runs_dir} must name a directory")
    tokens = config.suite.get("forward_tokens")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int | float) or tokens < 0):
        raise UserError(f"suite.forward_tokens={tokens} must be a number of at least 0")
    if config.train.evaluate and config.train.parallel != "ddp":
        raise UserError(
            "train.evaluate=true needs the whole model on one process: use python -m evaluate beside the run"
        )


def run_identity(config: DictConfig, rung: Rung, mix: Mix | None) -> dict[str, Any]:
    """What makes two runs the same run; anything else may differ between a start and a restart.

    But for what also depends on the machine, precision and the weights' dtype: the resume state holds those.
    Without a mix the data is left out.
    """
    ladder = ladder_from_config(config)
    return {
        "ladder": ladder.name,
        "size": rung.size,
        "multiple": rung.multiple,
        "n": rung.n,
        "d": rung.d,
        "shape": vars(rung.shape),
        "hparams": vars(rung.hparams),
        "recipe": vars(ladder.recipe),
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
