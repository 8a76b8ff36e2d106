"""Contexts and continuations become the tokens that the peers score; JSONL tasks and suites are read with care."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from evaluate_models import documents, tiny_tokenizer, write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from evaluate.scoring.plan import cached_plan, make_plan, plan_key
from evaluate.tasks.suite import Suite, make_suite, reported
from evaluate.tasks.tasks import Document, JsonlSource, RankedTask
from evaluate.tokens.tokenizer import Encoder, load_tokenizer
from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError
from ladder.files.bind import bind

TOKENIZER = tiny_tokenizer()
ENCODER = Encoder(TOKENIZER)


def test_a_continuation_is_what_follows_the_context_in_the_whole_text() -> None:
    class SpaceBefore:  # as sentencepiece does: a space is put before every text
        backend_tokenizer = None
        bos_token_id, eos_token_id = None, 0

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [sum(map(ord, word)) % 97 for word in re.findall(r" +\S+", " " + text)]}

        def get_vocab(self) -> dict[str, int]:
            return {}

    encoder = Encoder(SpaceBefore())
    apart = [encoder.encode([text])[0].tolist() for text in ("Answer:", " A")]
    ((prompt, answer, _),) = encoder.encode_pairs([("Answer:", " A")])
    assert [*prompt, *answer] == encoder.encode(["Answer: A"])[0].tolist() != apart[0] + apart[1]
    assert prompt.tolist() == apart[0]


def test_a_token_that_would_span_context_and_continuation_is_split() -> None:
    assert len(ENCODER.encode(["the mat"])[0]) < len(ENCODER.encode(["the m"])[0]) + len(ENCODER.encode(["at"])[0])
    ((prompt, answer, _),) = ENCODER.encode_pairs([("the m", "at")])
    assert prompt.tolist() == ENCODER.encode(["the m"])[0].tolist()
    assert answer.tolist() == ENCODER.encode(["at"])[0].tolist()


@pytest.mark.parametrize("bos", [False, True])
def test_encoding_the_prompt_once_changes_nothing(bos: bool) -> None:
    encoder = Encoder(tiny_tokenizer(bos))
    for prompt in ("Question: the dogs\n\n", "the m", "the mat\n", ""):
        pairs = [(prompt + rest, " cat") for rest in ("", "\n\n moon", "at sat", "oon", "Question: cow\nAnswer:")]
        once = encoder.encode_pairs(pairs[1:], prompt)
        whole = [np.concatenate([encoder.start, encoder.encode([context])[0]]) for context, _ in pairs[1:]]
        assert [context.tolist() for context, *_ in once] == [context.tolist() for context in whole]


def test_texts_are_taken_verbatim() -> None:
    made = [Document(id="0", contexts=("Q:",) * 3, choices=("  two", " trail ", " two"), gold=0)]
    plan = make_plan(made, ENCODER, 99, True)
    assert plan.characters.tolist() == [5, 7, 4] and plan.spaces.tolist() == [1, 1, 1]
    ids = ENCODER.encode(["  two"])[0]
    assert (plan.pair_request == 0).sum() == len(ids)


def test_an_empty_context_begins_with_end_of_text() -> None:
    ((prompt, *_),) = ENCODER.encode_pairs([("", " cat")])
    assert prompt.tolist() == [0]
    words = Tokenizer(models.WordLevel({"<e>": 0, "cat": 1, "sat": 2}, unk_token="<e>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # of which some texts have no tokens
    encoder = Encoder(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<e>"))
    document = Document(id="x", contexts=("\n", "\n"), choices=(" cat sat", " sat"), gold=0)
    assert [pair.context.tolist() for pair in encoder.encode_pairs([("\n", " cat sat"), ("cat", " sat")])] == [[0], [1]]
    assert make_plan([document], encoder, 16, True).answer_tokens.tolist() == [2, 1]


def test_begin_of_text_of_a_tokenizer_that_names_none(tmp_path: Path) -> None:
    """tokenizer.json alone: its post-processor puts the token first, though nothing calls it begin-of-text."""
    tiny_tokenizer(bos=True).backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path, 400)
    assert tokenizer.bos_token_id is None
    encoder = Encoder(tokenizer)
    assert encoder.start == [1]
    ((prompt, *_), (empty, *_)) = encoder.encode_pairs([("The cat", " sat"), ("", " sat")])
    assert prompt.tolist() == [1, *ENCODER.encode(["The cat"])[0].tolist()] and empty.tolist() == [1]


@pytest.mark.parametrize(("single", "start"), [("$A", []), ("$A <s>", []), ("<s> $A <s>", [1]), ("<s> <s> $A", [1, 1])])
def test_only_what_stands_before_a_text_begins_it(single: str, start: list[int]) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=[("<s>", 1)])
    assert Encoder(tokenizer).start == start


@given(st.text(max_size=40))
def test_the_bytes_of_tokens(text: str) -> None:
    ids, sizes = ENCODER.encode_text(text)
    assert sizes is not None and len(ids) == len(sizes) and (not text or sizes.sum() == len(text.encode()))
    if text.isascii():
        assert sizes.tolist() == [len(token) for token in TOKENIZER.convert_ids_to_tokens(ids.tolist())]


def test_what_the_harness_would_split_otherwise_is_counted() -> None:
    """It moves a context's last spaces to the continuation, and splits a token that spans the two elsewhere."""
    pairs = [("Answer:", " cat"), ("Answer: ", "cat"), ("the m", "at"), ("", " cat"), ("Answer:\n", "cat")]
    assert [pair.as_harness for pair in ENCODER.encode_pairs(pairs)] == [True, False, False, True, False]
    made = [Document(id="0", contexts=tuple(left for left, _ in pairs), choices=tuple(r for _, r in pairs), gold=0)]
    assert make_plan(made, ENCODER, 99, True).otherwise.tolist() == [3]
    assert make_plan(documents("rc"), ENCODER, 256, True).otherwise.tolist() == [0]


@pytest.mark.parametrize(
    ("context", "choice", "count"),
    [
        ("it", "meows.", 1),
        ("it", " meows.", 0),
        ("it ", "meows.", 0),
        ("Answer:", "cat", 0),
        ("", "cat", 0),
        ("in", "1999", 1),
        ("\u732b", "\u732b", 0),
    ],
)
def test_choices_that_grow_together_with_their_contexts_are_counted(context: str, choice: str, count: int) -> None:
    made = [Document(id="0", contexts=(context,) * 2, choices=(choice, "!"), gold=0)]
    assert make_plan(made, ENCODER, 99, True).unspaced.tolist() == [count]


@dataclass(frozen=True)
class Subjects:
    """Documents of two subjects, as MMLU has them."""

    def fingerprint(self) -> str:
        return "subjects"

    def documents(self) -> list[Document]:
        return [dataclasses.replace(d, group=group) for group in ("law", "physics") for d in documents("rc", 4)]


def test_a_limit_is_one_of_each_subject() -> None:
    task = RankedTask(
        name="t", format="rc", split="test", primary="acc_raw", source=Subjects(), categories={"law": "x"}
    )
    cut = dataclasses.replace(task, limit=2)
    assert [d.group for d in cut.documents()] == ["law", "law", "physics", "physics"]
    assert len(task.documents()) == 8
    # plans that version 0.1.0 cached under the same limit are of other documents
    assert cut.fingerprint() != dataclasses.replace(cut, categories={}).fingerprint()


def test_jsonl(tmp_path: Path) -> None:
    made = JsonlSource(path=write_jsonl(tmp_path / "t.jsonl", documents("winogrande"))).documents()
    assert [d.contexts for d in made] == [d.contexts for d in documents("winogrande")]
    path = tmp_path / "one.jsonl"
    path.write_text('{"context": "Q", "choices": [" a", " b"], "gold": 1}\n')
    assert JsonlSource(path=path).documents()[0].contexts == ("Q", "Q")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "line 2 is not valid JSON"),
        ('{"context": "Q", "choices": [" a", " b"]}', "line 2: gold is missing"),
        ('{"context": "Q", "choices": [" a", " b"], "gold": 2}', "line 2: gold=2"),
        ('{"context": "Q", "choices": [" a", " b"], "gold": -1}', "line 2: gold=-1"),
        ('{"context": "Q", "choices": [" a"], "gold": 0}', "line 2: needs at least two"),
        ('{"context": ["Q"], "choices": [" a", " b"], "gold": 0}', "as many contexts"),
        ('{"context": "Q", "choices": [" a", " "], "gold": 0}', "empty choice"),
        ('{"context": "Q", "choices": [" a", 3], "gold": 0}', "line 2: choices.1 = 3: must be text"),
        ('{"context": "Q", "choices": [" a", " b"], "gold": true}', "gold = true: must be a whole number"),
        ('["Q"]', "line 2 must be a JSON object"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"context": "Q", "choices": [" a", " b"], "gold": 1}\n' + line + "\n")
    with pytest.raises(UserError, match=expected):
        JsonlSource(path=path).documents()


def suite_of(node: dict) -> Suite:
    return make_suite(bind(SuiteSettings, {"name": "s"} | node, "suite s"))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"tasks": {"a": {"rcc": "x"}}}, 'suite s: unknown key "tasks.a.rcc"; did you mean "rc"'),
        (
            {"tasks": {"a": {"olmes": "piqa", "formats": ["rd"]}}},
            'suite s: unknown tasks.a.formats.0 "rd"; did you mean "rc"',
        ),
        ({"tasks": {"a": {"olmes": "piqa", "limit": 0}}}, "suite s: tasks.a.limit = 0: must be at least 1"),
        (
            {"tasks": {"a": {"rc": "x", "primary": "acc_per_chr"}}},
            'unknown tasks.a.primary "acc_per_chr"; did you mean "acc_per_char"',
        ),
        ({"tasks": {"a": {"olmes": "hellaswagg"}}}, 'did you mean "hellaswag"'),
        ({"tasks": {"a": {"split": "x"}}}, "name a JSONL file"),
        ({"tasks": {"a": {"olmes": "piqa", "split": "x"}}}, "suite s, task a: split does not go with olmes"),
        ({"tasks": {"a": {"rc": "x", "limit": 5}}}, "task a: limit does not go with files of your own"),
        ({"tasks": {}}, "neither tasks nor lm_loss"),
        ({"lm_loss": {"c": {"tokens": 5}}}, "either shards"),
        ({"lm_loss": {"c": {"text": "x", "tokens": "many"}}}, 'tokens = "many": must be a whole number'),
    ],
)
def test_bad_suites_are_named(node: dict, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        suite_of(node)


def test_selecting_tasks() -> None:
    suite = suite_of({"tasks": {"a": {"rc": "x", "mc": "y"}, "b": {"rc": "z"}}})
    assert [task.key for task in suite.tasks] == ["a.rc", "a.mc", "b.rc"]
    assert [task.key for task in suite.select(["a"], ["mc"], 3).tasks] == ["a.mc"]
    cut = suite_of({"tasks": {"a": {"olmes": "piqa", "formats": ["rc"], "limit": 7}}})
    assert [(task.key, task.limit) for task in cut.tasks] == [("a.rc", 7)]
    assert [task.limit for limit in (None, 3, 9) for task in cut.select([], [], limit).tasks] == [7, 3, 7]
    with pytest.raises(UserError, match=r'unknown task of suite s "aa"; did you mean "a"'):
        suite.select(["aa"], [], None)
    with pytest.raises(UserError, match="unknown format"):
        suite.select([], ["cc"], None)
    with pytest.raises(UserError, match="suite s has no task in format gold"):
        suite.select([], ["gold"], None)


def test_tasks_of_the_wheel_by_our_names_and_by_lm_evals() -> None:
    suite = suite_of({"tasks": {"a": {"rc": "x"}, "csqa": {"rc": "mine.jsonl"}}})

    def keys(*names: str, formats: Sequence[str] = ()) -> list[str]:
        return [task.key for task in suite.select([*names], [*formats], None).tasks]

    assert keys("arc_easy:0shot", "a") == ["a.rc", "arc_easy_0shot.rc"]
    assert keys("commonsense_qa", "csqa") == ["csqa.rc"]  # the suite's own goes before the wheel's
    assert keys("social_iqa", "humaneval", formats=["rc", "gold"]) == ["socialiqa.rc", "codex_humaneval.gold"]
    assert keys("ai2_arc:val", formats=["mc"]) == ["arc_easy_val.mc", "arc_challenge_val.mc"]
    both = suite.select(["mmlu", "mmlu:val"], ["rc"], None).tasks
    categories = [{key for key in reported([task]) if key != task.key} for task in both]
    assert categories[0] == {f"mmlu_{kind}.rc" for kind in ("humanities", "other", "social_sciences", "stem")}
    assert categories[1] == {key.replace("mmlu_", "mmlu_val_") for key in categories[0]}  # of other questions
    assert len(keys("minerva_math")) == 7 and len(keys("mt_mbpp")) == 17 and len(keys("basic_skills")) == 12
    with pytest.raises(UserError, match=r'unknown task of suite s "medqa_4options"; did you mean "medqa_en"'):
        keys("medqa_4options")
    with pytest.raises(UserError, match="sciq is not there so; known after sciq: are 0shot, 5shot, val"):
        keys("sciq:test")
    with pytest.raises(UserError, match="suite s has no gsm8k in format rc"):
        keys("gsm8k", formats=["rc"])


def test_a_plan_is_made_once_and_again_when_what_it_depends_on_changes(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path / "cache"))
    path = write_jsonl(tmp_path / "t.jsonl", documents("rc"))
    task = RankedTask(name="t", format="rc", split="test", primary="acc_raw", source=JsonlSource(path=path))

    def plan():  # type: ignore[no-untyped-def]
        key = plan_key(task, ENCODER.fingerprint(), 64)
        return key, cached_plan(task, ENCODER, key, 64, True)

    key, first = plan()
    reads: list[str] = []
    monkeypatch.setattr(JsonlSource, "documents", lambda self: reads.append("read") or documents("rc", 8))
    again_key, again = plan()
    assert not reads and again_key == key
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))
    path.write_text(path.read_text() + "\n")
    changed_key, changed = plan()
    assert reads == ["read"] and changed_key != key and len(changed.choices) == 8
    file = tmp_path / "cache" / "plans" / f"{changed_key}-tries.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert len(plan()[1].choices) == 8 and len(reads) == 2  # a damaged one is made again
    assert plan_key(task, Encoder(tiny_tokenizer(bos=True)).fingerprint(), 64) != changed_key
    assert plan_key(task, ENCODER.fingerprint(), 65) != changed_key


def test_the_tokenizer_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for bos in (False, True):
        tokenizer = tiny_tokenizer(bos)
        tokenizer.save_pretrained(tmp_path)
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert Encoder(loaded).fingerprint() == Encoder(tokenizer).fingerprint()
        tokenizer(["a", "b c"], padding=False, truncation=True, max_length=1)  # state that is not ours
        assert Encoder(tokenizer).fingerprint() == Encoder(loaded).fingerprint()
