"""A task's plan: all that does not depend on weights, made once per (tokenizer, task, context length) and cached.

The plan holds the rows of `evaluate.tokens.trie` as flat arrays, and what the metrics need to know of the documents, so
that scoring a checkpoint reads neither texts nor the tokenizer.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluate.tasks.tasks import AnyDocument, Document, Task
from evaluate.tokens.sections import Section, branching_section, branching_sections, plain_section
from evaluate.tokens.tokenizer import EncodedPair, Encoder
from evaluate.tokens.trie import Ints, Request, distinct_prefixes, sort_requests
from ladder.config.task_files import is_unspaced
from ladder.files.hashing import json_sha256
from ladder.files.wheels import cache_directory
from ladder.files.writing import atomic_file

BLANK_LINE = "\n\n"
PLAN_VERSION = 1  # raise it when the same inputs give another plan


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Flat arrays; `*_offsets` arrays have one entry more than there are items. Requests are (document, choice)."""

    # documents and requests
    choices: Ints  # (documents,) how many choices each has
    gold: Ints  # (documents,)
    groups: np.ndarray  # (documents,) the group's name
    characters: Ints  # (requests,) of the continuation, its leading space included
    bytes: Ints  # (requests,) the same in UTF-8
    spaces: Ints  # (requests,) 1 where the continuation begins with a space
    # shared prefixes, one a section; rows of a section come longest first
    prefix_tokens: Ints
    prefix_offsets: Ints
    row_section: Ints  # (rows,)
    row_offsets: Ints  # into tokens, positions, ends
    tokens: Ints
    positions: Ints  # the section's prefix is counted
    ends: Ints  # index in the row
    # what is predicted where
    heads: Ints  # flat indices into tokens, ascending: the nodes whose next-token distribution is needed
    pair_head: Ints  # (pairs,) ascending index into heads
    pair_token: Ints
    pair_request: Ints
    # counts
    limit: Ints  # (1,) distinct token prefixes of the requests: the least number of tokens that can be processed
    truncated: Ints  # (1,) requests that were cut from the left
    parted: Ints  # (1,) of these, requests whose continuation alone is longer than the context
    otherwise: Ints  # (1,) requests that lm-evaluation-harness would split into other tokens
    unspaced: Ints  # (1,) documents where a context ends in a letter or digit and its choice begins with one
    tries: Ints  # (1,) 1: rows branch and need a mask; 0: rows are plain sequences

    @property
    def processed_tokens(self) -> int:
        return len(self.tokens) + len(self.prefix_tokens)

    @property
    def requests(self) -> int:
        return len(self.characters)

    @property
    def answer_tokens(self) -> Ints:
        """(requests,) tokens of each continuation."""
        return np.bincount(self.pair_request, minlength=self.requests).astype(np.int32)

    @property
    def longest_path(self) -> int:
        """Tokens from the first of the prefix to the deepest node."""
        return int(self.positions.max(initial=0)) + 1

    @property
    def widest_row(self) -> int:
        """Nodes of a row and of the prefix before it: as far as attention reaches."""
        prefixes, rows = np.diff(self.prefix_offsets), np.diff(self.row_offsets)
        return int((rows + prefixes[self.row_section]).max(initial=1))

    @property
    def largest_token(self) -> int:
        return max(int(ids.max(initial=0)) for ids in (self.tokens, self.prefix_tokens, self.pair_token))


def plan_key(task: Task, tokenizer_sha256: str, max_length: int) -> str:
    """Names what is scored: documents, their tokens, where they are cut; recorded with every measurement."""
    return json_sha256([PLAN_VERSION, task.fingerprint(), tokenizer_sha256, max_length])


def cached_plan(task: Task, encoder: Encoder, key: str, max_length: int, tries: bool) -> Plan:
    """The plan from the user's cache directory, made and stored there first if need be; `key` is its `plan_key`."""
    path = cache_directory() / "plans" / f"{key}-{'tries' if tries else 'chains'}.npz"
    if path.exists():
        try:
            return _load(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: make it again
            path.unlink(missing_ok=True)
    plan = make_plan(task.documents(), encoder, max_length, tries)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{field.name: getattr(plan, field.name) for field in fields(Plan)})
    return plan


def _load(path: Path) -> Plan:
    with np.load(path, allow_pickle=False) as arrays:
        return Plan(**{field.name: arrays[field.name] for field in fields(Plan)})


def make_plan(documents: Sequence[AnyDocument], encoder: Encoder, max_length: int, tries: bool) -> Plan:
    """The plan for those documents.

    Args:
        max_length: input tokens that the model takes; longer requests lose their beginning, as the peers do, and
            continuations that are longer by themselves are predicted in parts (`_requests`).
        tries: whether the model takes rows that branch.

    Raises:
        UserError: a continuation that has no tokens.
    """
    owners = [document for document in documents for _ in document.choices]
    whole: dict[str, list[Request]] = {}
    cut: list[Request] = []
    otherwise = parted = 0
    for index, (context, continuation, as_harness) in enumerate(_encode(documents, encoder)):
        otherwise += not as_harness
        parted += len(continuation) > max_length
        fits = len(context) + len(continuation) - 1 <= max_length
        place = whole.setdefault(owners[index].group, []) if fits else cut
        place += _requests(index, context, continuation, max_length)
    truncated = len({request.index for request in cut})
    sections, limit = [], 0
    for requests in whole.values():
        ordered, shared = sort_requests(requests)
        sections += branching_sections(ordered, shared) if tries else [plain_section(ordered, shared)]
        limit += distinct_prefixes(ordered, shared)
    if cut:  # cut at different places, they begin differently and share no prompt
        ordered, shared = sort_requests(cut)
        sections.append(branching_section(ordered, shared, share=False) if tries else plain_section(ordered, shared))
        limit += distinct_prefixes(ordered, shared)
    return _flatten(documents, sections, tries, Counts(limit, truncated, parted, otherwise))


def _requests(index: int, context: Ints, continuation: Ints, max_length: int) -> list[Request]:
    """The request, its inputs cut from the left to the context.

    A continuation that is longer than the context becomes several requests, each of half a context at most and behind
    as much of what comes before as fits; their likelihoods add up.
    """
    texts = np.concatenate([context, continuation])
    size = len(continuation) if len(continuation) <= max_length else max(1, max_length // 2)
    made = []
    for start in range(len(context), len(texts), size):
        last = min(start + size, len(texts)) - 1
        made.append(
            Request(index=index, inputs=texts[max(0, last - max_length) : last], targets=texts[start : last + 1])
        )
    return made


def _encode(documents: Sequence[AnyDocument], encoder: Encoder) -> Iterator[EncodedPair]:
    """Tokens of every request, in order; documents of a group stand together."""
    for _, members in itertools.groupby(documents, key=lambda document: document.group):
        pairs = [pair for document in members for pair in zip(document.contexts, document.choices, strict=True)]
        yield from encoder.encode_pairs(pairs, _shared_prompt([context for context, _ in pairs]))


def _shared_prompt(contexts: Sequence[str]) -> str:
    """What all contexts begin with, up to the last blank line: the examples of a few-shot prompt."""
    first, last = min(contexts), max(contexts)  # the two that differ earliest
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    end = first.rfind(BLANK_LINE, 0, same)
    return first[: end + len(BLANK_LINE)] if end >= 0 else ""


def plan_of_requests(requests: Sequence[Request], tries: bool, row_nodes: int) -> Plan:
    """The plan of requests that begin with the same tokens and belong to no document, in rows of so many nodes."""
    return plan_of_sections([requests], tries, row_nodes)


def plan_of_sections(sections: Sequence[Sequence[Request]], tries: bool, row_nodes: int) -> Plan:
    """As `plan_of_requests`, of several lots of requests; an index is unique among all of them."""
    choices = ("x",) * (1 + max(request.index for requests in sections for request in requests))
    document = Document(id="requests", contexts=("",) * len(choices), choices=choices, gold=0)
    lots = [sort_requests(requests) for requests in sections]
    limit = sum(distinct_prefixes(*lot) for lot in lots)
    made = [branching_section(*lot, row_nodes=row_nodes) if tries else plain_section(*lot) for lot in lots]
    return _flatten([document], made, tries, Counts(limit))


class Counts(NamedTuple):
    """Those fields of a plan that are numbers."""

    limit: int
    truncated: int = 0
    parted: int = 0
    otherwise: int = 0


def _flatten(
    documents: Sequence[AnyDocument],
    sections: list[Section],
    tries: bool,
    counts: Counts,
) -> Plan:
    rows = [
        (number, row)
        for number, section in enumerate(sections)
        for row in sorted(section.rows, key=lambda row: -len(row.tokens))
    ]
    offsets = _offsets([len(row.tokens) for _, row in rows])
    pair_node = _concatenate([row.pair_node + start for (_, row), start in zip(rows, offsets[:-1], strict=True)])
    heads, pair_head = np.unique(pair_node, return_inverse=True)
    by_head = np.argsort(pair_head, kind="stable")
    return Plan(
        **_of_documents(documents),
        prefix_tokens=_concatenate([section.prefix for section in sections]),
        prefix_offsets=_offsets([len(section.prefix) for section in sections]),
        row_section=_ints(number for number, _ in rows),
        row_offsets=offsets,
        tokens=_concatenate([row.tokens for _, row in rows]),
        positions=_concatenate([row.positions + len(sections[number].prefix) for number, row in rows]),
        ends=_concatenate([row.ends for _, row in rows]),
        heads=heads.astype(np.int32),
        pair_head=pair_head[by_head].astype(np.int32),
        pair_token=_concatenate([row.pair_token for _, row in rows])[by_head],
        pair_request=_concatenate([row.pair_request for _, row in rows])[by_head],
        **{name: _ints([count]) for name, count in counts._asdict().items()},
        tries=_ints([tries]),
    )


def _of_documents(documents: Sequence[AnyDocument]) -> dict[str, np.ndarray]:
    """The fields of a plan that do not depend on tokens."""
    texts = [choice for document in documents for choice in document.choices]
    return {
        "choices": _ints(len(document.choices) for document in documents),
        "gold": _ints(document.gold for document in documents),
        "groups": np.array([document.group for document in documents]),
        "characters": _ints(map(len, texts)),
        "bytes": _ints(len(text.encode()) for text in texts),
        "spaces": _ints(text.startswith(" ") for text in texts),
        "unspaced": _ints([sum(is_unspaced(document.contexts, document.choices) for document in documents)]),
    }


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int32)


def _offsets(lengths: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _concatenate(parts: list[Ints]) -> Ints:
    return np.concatenate([np.empty(0, dtype=np.int32), *parts]).astype(np.int32)
