"""What makes two runs the same run."""

from __future__ import annotations

from ladder.config.data import Mix
from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.records.run_record import CheckpointRecord, Identity
from ladder.rungs.rung import Rung
from ladder.runs.rundir import RUN_FILE, RUNG_FILE, RunDirectory

MOST = 3  # differences that are listed


class OtherSettings(UserError):
    """A run that is there was begun with another configuration."""


def run_identity(config: Config, rung: Rung, mix: Mix | None) -> Identity:
    """What makes two runs the same run; anything else may differ between a start and a restart.

    But for what also depends on the machine, precision and the weights' dtype: the resume state holds those.
    Without a mix the data is left out.
    """
    return Identity(
        ladder=config.ladder.name,
        size=rung.size,
        multiple=rung.multiple,
        n=rung.n,
        d=rung.d,
        shape=vars(rung.shape),
        hparams=vars(rung.hparams),
        recipe=config.ladder.recipe.constants(),
        seed=config.seed,
        document_mask=config.train.document_mask,
        groups=rung.groups.values() if rung.groups != config.ladder.recipe.groups() else None,
        data_fingerprint=mix.fingerprint if mix else None,
    )


def check_identity(run: RunDirectory, identity: Identity) -> None:
    """Refuses to go on with a run that was begun with other values.

    Raises:
        OtherSettings: it was.
        UserError: what says so is damaged or lost.
    """
    if not run.run_file.exists():
        if identity.data_fingerprint is not None:
            _check_checkpoints(run, identity.sha256())
        return
    before = {"recipe.ngram_max_length": 0} | _flat(run.record().values())  # older runs left nothing out
    now = _flat(identity.values())
    if now.get("recipe.ngram_max_length") == 0:
        before.pop("recipe.ngram_max_repeats", None)
        now.pop("recipe.ngram_max_repeats")
    changed = [
        f"{key}: {before.get(key, 'absent')} there, {now.get(key, 'absent')} now"
        for key in now | before
        if now.get(key) != before.get(key) and (key in now or key.startswith("groups."))
    ]
    if changed:
        more = f"; and {len(changed) - MOST} more" if len(changed) > MOST else ""
        raise OtherSettings(
            f"{run.path} was begun with another configuration ({'; '.join(changed[:MOST])}{more}); "
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
        if CheckpointRecord.load(file).config_hash != config_hash:
            raise UserError(
                f"{run.path} has no {RUN_FILE}, and {file} is of another configuration; "
                "use that one, another runs_dir, or remove that directory"
            )


def _flat(value: dict[str, object], prefix: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for key, item in value.items():
        out |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return out
