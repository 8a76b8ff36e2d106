"""What one process of a group decides, in all of them: shared by train and evaluate, which bring torch's broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Box = list[tuple[T | None, Exception | None]]


def agree(decide: Callable[[], T], *, main: bool, broadcast: Callable[[Box[T]], None]) -> T:
    """What the main process decides, in every process; an error in it is raised in all of them.

    Args:
        broadcast: fills the box of every process with that of the main one.
    """
    box: Box[T] = [(None, None)]
    if main:
        try:
            box = [(decide(), None)]
        except Exception as error:  # the others wait for it
            box = [(None, error)]
    broadcast(box)
    value, failure = box[0]
    if failure is not None:
        raise failure
    return value  # type: ignore[return-value]
