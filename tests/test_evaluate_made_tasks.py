"""The made tasks are deterministic, short, balanced, and not to be had without reading the context."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluate.tasks import code_tasks, prose_tasks
from evaluate.tasks.made_tasks import write_tasks
from evaluate.tasks.tasks import JsonlSource
from ladder.errors import UserError

NAMES = ("next_phrase", "word", "order", "agree")
ITEMS = 400


def texts(seed: int, count: int) -> list[str]:
    """Sentences of made-up words with natural frequencies, and the function words that `agree` needs."""
    vocabulary_rng, rng = random.Random(0), random.Random(seed)
    syllables = ["ka", "lo", "mi", "ter", "an", "so", "rek", "ul"]
    words = sorted({"".join(vocabulary_rng.choices(syllables, k=vocabulary_rng.randint(2, 4))) for _ in range(1500)})
    vocabulary_rng.shuffle(words)
    function = [word for pair in prose_tasks.PAIRS for word in pair]
    weights = [1 / (10 + rank) for rank in range(len(words))]
    made = []
    for _ in range(count):
        sentences = []
        for _ in range(60):
            length = rng.randint(8, 25)
            picked = [
                rng.choice(function) if rng.random() < 0.4 else rng.choices(words, weights)[0] for _ in range(length)
            ]
            sentences.append(" ".join(picked).capitalize() + ".")
        made.append("\n".join(" ".join(sentences[start : start + 6]) for start in range(0, 60, 6)))
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("suite")
    write_tasks(prose_tasks.makers(texts(1, 30), texts(2, 12)), directory, seed=0, items=ITEMS)
    return directory


def rows(directory: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (directory / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_form(built: Path, name: str) -> None:
    assert len(JsonlSource(path=built / f"{name}.jsonl").documents()) == ITEMS
    made = rows(built, name)
    size = 2 if name == "agree" else 4
    golds = Counter(row["gold"] for row in made)
    assert golds == {gold: ITEMS // size for gold in range(size)}
    heldout = " ".join("\n".join(texts(2, 12)).split())
    for row in made:
        assert len(set(row["choices"])) == size and all(choice.startswith(" ") for choice in row["choices"])
        assert 60 <= len(row["context"].encode()) <= 100
        assert row["context"] + row["choices"][row["gold"]] in heldout  # the gold answer is what was written
        lengths = {len(choice) for choice in row["choices"]}
        assert len(lengths) == 1 or name == "agree"
        assert len(row["context"]) + max(lengths) < 256  # bytes; under 128 tokens for any tokenizer worth the name
    assert len({(row["context"], row["choices"][row["gold"]]) for row in made}) == ITEMS


@pytest.mark.parametrize("name", NAMES)
def test_trivial_answers_are_at_chance(built: Path, name: str) -> None:
    counts = Counter(word for text in texts(1, 30) for word in re.findall(r"[a-z]+", text))

    def familiarity(choice: str) -> float:
        return sum(math.log(counts[word] + 1) for word in re.findall(r"[a-z]+", choice)) / len(choice)

    made = rows(built, name)
    chance = 1 / len(made[0]["choices"])
    rules: dict[str, Callable[[str], float]] = {
        "shortest": lambda choice: -len(choice),
        "longest": len,
        "frequent words": familiarity,
        "rare words": lambda choice: -familiarity(choice),
        "alphabet": lambda choice: -ord(choice[1]),
    }
    for rule, score in rules.items():
        right = sum(max(range(len(r["choices"])), key=lambda i: score(r["choices"][i])) == r["gold"] for r in made)
        deviation = math.sqrt(chance * (1 - chance) / len(made))
        assert abs(right / len(made) - chance) < 3.5 * deviation, rule


def test_the_rivals_are_what_they_should_be(built: Path) -> None:
    for row in rows(built, "order"):
        gold = row["choices"][row["gold"]].split()
        for choice in row["choices"]:
            assert sorted(choice.split()) == sorted(gold)
            assert sum(a != b for a, b in zip(choice.split(), gold, strict=True)) in (0, 2)
    counterpart = {frozenset(pair) for pair in prose_tasks.PAIRS}
    golds: Counter[str] = Counter()
    for row in rows(built, "agree"):
        first, second = (choice.split() for choice in row["choices"])
        assert frozenset((first[0], second[0])) in counterpart and first[1:] == second[1:]
        golds[row["choices"][row["gold"]].split()[0]] += 1
    assert all(golds[a] == golds[b] for a, b in prose_tasks.PAIRS)


def test_same_seed_same_items(built: Path, tmp_path: Path) -> None:
    makers = prose_tasks.makers(texts(1, 30), texts(2, 12))
    write_tasks(makers, tmp_path / "again", seed=0, items=ITEMS)
    write_tasks(makers, tmp_path / "other", seed=1, items=ITEMS)
    for name in NAMES:
        assert (tmp_path / "again" / f"{name}.jsonl").read_bytes() == (built / f"{name}.jsonl").read_bytes()
        assert (tmp_path / "other" / f"{name}.jsonl").read_bytes() != (built / f"{name}.jsonl").read_bytes()


def test_too_little_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of 400 documents of word"):
        write_tasks(prose_tasks.makers(texts(1, 2), texts(2, 1)[:1]), tmp_path, seed=0, items=ITEMS)
    assert not list(tmp_path.iterdir())


CODE_NAMES = ("next_line", "near_line", "line_order", "identifier", "operator")
CODE_ITEMS = 200


def sources() -> list[str]:
    """Real Python: modules of the standard library."""
    paths = [*sorted(Path(json.__file__).parent.parent.glob("*.py")), *sorted(Path(json.__file__).parent.glob("*.py"))]
    return [path.read_text(encoding="utf-8") for path in paths if path.stat().st_size < 60_000]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("code")
    write_tasks(code_tasks.makers([], sources()), directory, seed=0, items=CODE_ITEMS)
    return directory


@pytest.mark.parametrize("name", CODE_NAMES)
def test_form_of_code(code: Path, name: str) -> None:
    everything = "\0".join(sources())
    made = rows(code, name)
    size = 2 if name == "operator" else 4
    assert Counter(row["gold"] for row in made) == {gold: CODE_ITEMS // size for gold in range(size)}
    for row in made:
        choices, gold = row["choices"], row["choices"][row["gold"]]
        assert len(set(choices)) == size
        assert row["context"] + gold in everything  # the gold answer is what was written
        assert len(row["context"].encode()) <= 400 + 80 and row["context"].count("\n") >= 3
        if name.endswith("_line"):
            assert len({len(choice) - len(choice[1:].lstrip(" ")) for choice in choices}) == 1  # one indentation
            assert all(choice[1:] not in row["context"].split("\n") for choice in choices) or name == "next_line"
        if name == "next_line":
            assert len({len(choice) for choice in choices}) == 1
        if name == "line_order":
            assert len({tuple(sorted(choice.split("\n"))) for choice in choices}) == 1
        if name == "identifier":
            assert all(re.fullmatch(r" ?[A-Za-z_]\w{3,23}", choice) for choice in choices)
            assert max(map(len, choices)) - min(map(len, choices)) <= 4


@pytest.mark.parametrize("name", CODE_NAMES)
def test_trivial_answers_about_code_are_at_chance(code: Path, name: str) -> None:
    made = rows(code, name)
    chance = 1 / len(made[0]["choices"])
    for rule, score in {
        "shortest": lambda c: -len(c),
        "longest": len,
        "alphabet": lambda c: -ord(c.strip()[0]),
    }.items():
        right = sum(max(range(len(r["choices"])), key=lambda i: score(r["choices"][i])) == r["gold"] for r in made)
        deviation = math.sqrt(chance * (1 - chance) / len(made))
        assert abs(right / len(made) - chance) < 4 * deviation, rule


def test_operators_are_balanced(code: Path) -> None:
    golds: Counter[str] = Counter()
    for row in rows(code, "operator"):
        true, other = row["choices"][row["gold"]], row["choices"][1 - row["gold"]]
        match = re.match(r" ?(not in|is not|[a-zA-Z]+|[^\sa-zA-Z]+)", true)
        assert match and match[1] in code_tasks.COUNTERPART
        assert other == true.replace(match[1], code_tasks.COUNTERPART[match[1]], 1)
        golds[match[1]] += 1
    assert all(golds[a] == golds[b] for a, b in code_tasks.PAIRS)
    assert sum(count > 0 for count in golds.values()) >= 12


def test_the_same_code_gives_the_same_items(code: Path, tmp_path: Path) -> None:
    write_tasks(code_tasks.makers([], sources()), tmp_path, seed=0, items=CODE_ITEMS)
    for name in CODE_NAMES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (code / f"{name}.jsonl").read_bytes()
