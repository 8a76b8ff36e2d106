"""A plugin of pytest: a JSON line for each test as soon as it has ended, in the file that `FILE` names."""

from __future__ import annotations

import json
import os
from typing import Any

FILE = "EVIDENCE_EACH_TEST"


def pytest_runtest_logreport(report: Any) -> None:
    if report.when != "call" and report.passed:
        return
    reason = {} if report.passed else {"reason": report.longreprtext[-800:]}
    row = {"test": report.nodeid, "seconds": report.duration, "state": report.outcome, **reason}
    with open(os.environ[FILE], "a") as file:  # noqa: PTH123
        file.write(json.dumps(row) + "\n")
