"""What a job does, and what a cluster's queue says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ladder.rungs.rung import parse_run_name


class JobKind(StrEnum):
    """A training is named as its rung; the others as their kind, followers with a number."""

    TRAIN = "train"
    FOLLOW = "follow"
    MEASURE = "measure"
    PREDICT = "predict"

    @classmethod
    def of(cls, name: str) -> JobKind:
        """The kind of a job of that name in a queue, which keeps nothing else of it."""
        if parse_run_name(name):
            return cls.TRAIN
        return cls(name) if name in (cls.MEASURE, cls.PREDICT) else cls.FOLLOW


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that the cluster's queue still has; `state` in SLURM's words, such as PENDING or RUNNING."""

    id: str
    name: str
    state: str
    reason: str

    @property
    def kind(self) -> JobKind:
        return JobKind.of(self.name)

    @property
    def ending(self) -> bool:
        return self.state == "COMPLETING"

    @property
    def running(self) -> bool:
        return self.state == "RUNNING" or self.ending

    @property
    def waits_for(self) -> str:
        """Why it does not run yet, such as `Resources`; empty where the queue gives no reason."""
        return "" if self.reason in ("", "None") else self.reason
