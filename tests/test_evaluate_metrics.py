"""Every metric against a case computed by hand, and the averages that MMLU is reported with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluate_models import tiny_tokenizer

from evaluate.results.metrics import choices_of, document_values, standard_error, task_results
from evaluate.scoring.plan import Plan, make_plan
from evaluate.tasks.tasks import Document, JsonlSource, RankedTask
from evaluate.tokens.tokenizer import Encoder

ENCODER = Encoder(tiny_tokenizer())


def plan_of(documents: list[Document]) -> Plan:
    return make_plan(documents, ENCODER, 256, True)


def task(**changes: object) -> RankedTask:
    values = {"name": "t", "format": "rc", "split": "test", "primary": "acc_per_char", "source": JsonlSource}
    return RankedTask(**values | changes)  # type: ignore[arg-type]


def test_by_hand() -> None:
    # " é" has 1 character and 2 bytes without its space, " abcd" 4 and 4, "xy" begins with no space.
    document = Document(id="0", contexts=("Q",) * 3, choices=(" é", " abcd", "xy"), gold=1)
    ll = np.array([-2.1, -6.0, -3.8])
    values = {name: float(value[0]) for name, value in document_values(choices_of(plan_of([document]), ll)).items()}
    per_character = [-2.1 / 1, -6.0 / 4, -3.8 / 2]
    softmax = math.exp(per_character[1]) / sum(map(math.exp, per_character))
    assert values["bpb"] == pytest.approx(6.0 / 4 / math.log(2))
    assert values["bpb_with_space"] == pytest.approx(6.0 / 5 / math.log(2))
    assert values["acc_raw"] == 0  # -2.1 is the highest
    assert values["acc_per_char"] == 1  # -1.5 is
    assert values["acc_per_byte"] == 0  # -2.1 / 2 = -1.05 is
    assert values["acc_per_char_with_space"] == 0  # -2.1 / 2 = -1.05 is
    assert values["prob_correct"] == pytest.approx(softmax)
    assert values["task_ce"] == pytest.approx(-math.log(softmax))


def test_of_identical_choices_the_first_counts() -> None:
    made = [Document(id="0", contexts=("Q",) * 3, choices=(" a", " b", " b"), gold=gold) for gold in (1, 2)]
    values = document_values(choices_of(plan_of(made), np.array([-2.0, -1.0, -1.0] * 2)))
    assert values["acc_raw"].tolist() == [1, 0]


def test_documents_weigh_the_same_whatever_their_number_of_choices() -> None:
    made = [
        Document(id="0", contexts=("Q",) * 2, choices=(" a", " b"), gold=0),
        Document(id="1", contexts=("Q",) * 5, choices=(" a", " b", " c", " d", " e"), gold=4),
    ]
    (row,) = task_results(task(), choices_of(plan_of(made), np.array([-1.0, -2, -3, -4, -5, -6, -7])))
    assert row.n == 2 and row.chance == pytest.approx((1 / 2 + 1 / 5) / 2)
    assert row.acc == row.acc_per_char == 0.5
    assert row.bpb == pytest.approx((1 + 7) / 2 / math.log(2))
    assert row.stderr["bpb"] == pytest.approx(np.std([1, 7], ddof=1) / math.sqrt(2) / math.log(2))
    assert row.task_ce_normaliser == "nats per character"


def test_categories_are_micro_averages_and_the_macro_is_named() -> None:
    sizes, correct = {"algebra": 3, "physics": 1, "law": 4}, {"algebra": 3, "physics": 0, "law": 1}
    made, ll = [], []
    for subject, size in sizes.items():
        for number in range(size):
            made.append(Document(id="", contexts=("Q",) * 2, choices=(" a", " b"), gold=0, group=subject))
            ll += [-1.0, -2.0] if number < correct[subject] else [-2.0, -1.0]
    categories = {"algebra": "stem", "physics": "stem", "law": "humanities"}
    rows = task_results(task(name="mmlu", categories=categories), choices_of(plan_of(made), np.array(ll)))
    assert {row.task: (row.n, row.acc) for row in rows} == {
        "stem": (4, 3 / 4),
        "humanities": (4, 1 / 4),
        "mmlu": (8, 4 / 8),
    }
    assert (rows[-1].macro or {})["acc_per_char"] == pytest.approx((1 + 0 + 1 / 4) / 3)


@pytest.mark.parametrize("ll", [np.array([-1.0]), np.array([-1.0, np.nan]), np.array([-1.0, -np.inf])])
def test_incomplete_documents_are_never_averaged(ll: np.ndarray) -> None:
    plan = plan_of([Document(id="0", contexts=("Q",) * 2, choices=(" a", " b"), gold=0)])
    with pytest.raises(ValueError):
        choices_of(plan, ll)


def test_one_document_has_no_spread() -> None:
    assert standard_error(np.array([0.5])) == 0
