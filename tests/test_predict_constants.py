"""The constants of the default method are what `scripts/choose_constants.py` chose, for this code and these tables."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from predict.analyses.testbeds import read_testbeds
from predict.methods.constants import CONSTANTS, FILE, Widths, width_terms

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import choose_constants as script


@pytest.fixture(scope="module")
def paths(shared: Path) -> list[Path]:
    found = [shared / "testbeds", shared / "olmo-ladder" / "runs"]
    if not found[0].exists():
        pytest.skip(f"{found[0]} is absent")
    return found


def test_they_were_not_edited_and_the_tables_are_those_they_were_chosen_on(paths: list[Path]) -> None:
    assert script.fingerprint(paths, CONSTANTS) == CONSTANTS.origin.fingerprint
    widths = replace(CONSTANTS.widths, noise=CONSTANTS.widths.noise + 0.1)
    assert script.fingerprint(paths, replace(CONSTANTS, widths=widths)) != CONSTANTS.origin.fingerprint


def test_the_curves_are_still_those_they_were_chosen_for(paths: list[Path]) -> None:
    beds = read_testbeds([paths[0] / "papers"])
    assert script.probe(beds, CONSTANTS.prior) == pytest.approx(CONSTANTS.origin.probe, abs=0.002)


def test_the_prior_and_shares_are_among_the_candidates() -> None:
    assert CONSTANTS.prior in script.PRIORS
    assert {CONSTANTS.shares, CONSTANTS.shares_with_losses} <= set(script.SHARES)
    assert set(script.KEPT_BACK) == set(CONSTANTS.origin.kept_back)
    assert json.loads(FILE.read_text())["widths"]["factor80"] == CONSTANTS.widths.factor80


def made_cells(families: int, noise: dict[str, float], bias: float = 0.0) -> pd.DataFrame:
    """Predictions whose errors are known: every prior but the third is off by 3 points, chains by 10."""
    random = np.random.default_rng(2)
    rows = []
    for family in range(families):
        for i in range(120):
            name, rungs = ("3", 3) if i % 2 else ("15+", 20)
            truth = random.uniform(0.3, 0.7)
            error = noise.get(f"f{family}", 0.02) * random.standard_normal()
            row = {"family": f"f{family}", "class": name, "rungs": rungs, "actual": truth, "items": 10**6}
            row |= {
                "losses": family == 0,
                "varied": "N and D",
                "task": f"t{i % 5}",
                "last": 0.0,
                "linear": 0.0,
                "decades": 1.0,
                "unvaried": 0.0,
                "correlation": 0.99,
                "chains": truth + error + 0.1,
            }
            for which in range(len(script.PRIORS)):
                off = 0.0 if which == 2 else 0.03
                row |= {f"mean {which}": truth + error + off, f"spread {which}": 0.02, f"noise {which}": 0.01}
            rows.append(row)
    return pd.DataFrame(rows)


def test_the_choice_is_the_best_and_its_intervals_hold() -> None:
    cells = made_cells(3, {})
    choice = script.chosen(cells)
    assert choice.prior == 2 and choice.shares.few == 1.0
    assert choice == script.chosen(cells)
    held = script.scored(cells, choice, 1.0)
    assert 0.75 < held.in80.mean() < 0.9 < held.in95.mean()
    worse = script.scored(cells, replace(choice, prior=0), 1.0)
    assert held.error.mean() + 1 < worse.error.mean()


@pytest.mark.slow
def test_a_family_with_larger_errors_than_the_others_widens_what_is_unseen() -> None:
    alike, unlike = (script.unseen_of(made_cells(3, noise)) for noise in ({}, {"f0": 0.08}))
    assert 1.0 <= alike < unlike


def test_a_width_is_what_its_formula_says() -> None:
    widths = Widths(spread=1.0, noise=2.0, drift=3.0, unvaried=4.0, rest=5.0, factor80=1.0, factor95=2.0, unseen=1.0)
    terms = width_terms(np.array([0.02]), 0.01, 2.0, 0.5)
    expected = 1e-4 + 0.02**2 + 2 * 0.01**2 + 1e-4 * (3 * 4 + 4 * 0.25 + 5)
    assert widths.variance(np.array([1e-4]), terms)[0] == pytest.approx(expected)
