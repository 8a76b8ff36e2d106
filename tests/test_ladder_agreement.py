"""What one process decides, in all of a group: two processes' boxes, filled as torch's broadcast fills them."""

from __future__ import annotations

from typing import Any

import pytest

from ladder.process.agreement import agree


def test_the_main_process_decides_for_all() -> None:
    sent: list[Any] = []
    assert agree(lambda: {"step": 7}, main=True, broadcast=sent.extend) == {"step": 7}

    def receive(box: list[Any]) -> None:
        box[:] = sent

    assert agree(lambda: pytest.fail("it is not asked"), main=False, broadcast=receive) == {"step": 7}


def test_its_error_is_raised_in_all() -> None:
    sent: list[Any] = []
    for main, broadcast in ((True, sent.extend), (False, lambda box: box.__setitem__(slice(None), sent))):
        with pytest.raises(ZeroDivisionError):
            agree(lambda: 1 // 0 if main else None, main=main, broadcast=broadcast)  # noqa: B023 (called at once)
