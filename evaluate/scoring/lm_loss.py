"""Language-model loss on running text: nats per token and bits per byte over a fixed number of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from evaluate.scoring.processes import Processes
from evaluate.scoring.scorer import Scorer, evaluating
from evaluate.tasks.suite import LmLoss
from evaluate.tokens.tokenizer import Encoder, load_tokenizer
from ladder.errors import UserError
from ladder.files.hashing import json_sha256
from ladder.files.reading import read_sha256, read_text
from ladder.records.metrics_file import LmLossResult
from ladder.records.shards import TokenShards

SEQUENCES_VERSION = 2  # raise it when the same text gives another loss


@dataclass(frozen=True, kw_only=True)
class RunningText:
    """A text as tokens, and what a model is shown before each sequence of them."""

    tokens: np.ndarray  # (tokens,) int64
    start: np.ndarray  # (k,) int64: begin-of-text, where the tokenizer puts it before a text
    bytes_per_token: float  # of the whole file, in UTF-8
    token_bytes: np.ndarray | None  # (tokens,) bytes of each; None where they are not known
    fingerprint: str


def read_running_text(loss: LmLoss, encoder: Encoder, vocabulary: int, cut: int | None = None) -> RunningText:
    """The first `loss.tokens` tokens.

    Args:
        cut: the length of its sequences, where the suite makes it less than the model's.

    Raises:
        UserError: the text is shorter than that, is absent, is of another tokenizer, or its token ids exceed the
            model's vocabulary.
    """
    if loss.shards is not None:
        shards = TokenShards(loss.shards, loss.split)
        _check_tokenizer(loss, shards, encoder)
        total, size, fingerprint = shards.total, shards.bytes, shards.fingerprint
        tokens, token_bytes = shards.read(0, min(loss.tokens, total)), None
    else:
        assert loss.text is not None  # one of the two is set
        text = read_text(loss.text)
        ids, token_bytes = encoder.encode_text(text)
        total, size, fingerprint = len(ids), len(text.encode()), read_sha256(loss.text)
        tokens = ids[: loss.tokens].astype(np.int64)
    if total < loss.tokens:
        raise UserError(f"lm_loss {loss.name} has {total} tokens, asked for {loss.tokens}; ask for fewer")
    if int(tokens.max()) >= vocabulary:
        raise UserError(
            f"lm_loss {loss.name}: token {tokens.max()} is outside the model's vocabulary of {vocabulary}; "
            "prepare the text with the checkpoint's tokenizer"
        )
    depends = [fingerprint, loss.split, loss.tokens, encoder.fingerprint()]
    if encoder.start or token_bytes is not None:  # which version 0.1.0 left out
        depends.append(SEQUENCES_VERSION)
    if cut is not None:
        depends.append(["cut", cut])
    return RunningText(
        tokens=tokens,
        start=np.array(encoder.start, dtype=np.int64),
        bytes_per_token=size / total,
        token_bytes=token_bytes,
        fingerprint=json_sha256(depends),
    )


def _check_tokenizer(loss: LmLoss, shards: TokenShards, encoder: Encoder) -> None:
    directory = shards.tokenizer_directory
    if (
        directory.is_dir()
        and Encoder(load_tokenizer(directory, shards.vocab_size)).fingerprint() != encoder.fingerprint()
    ):
        raise UserError(
            f"lm_loss {loss.name}: {shards.directory} was tokenized by another tokenizer than the checkpoint's; "
            "leave it out with --tasks, or prepare the text with the checkpoint's tokenizer"
        )


def lm_loss(
    scorer: Scorer, processes: Processes, loss: LmLoss, text: RunningText, sequence_length: int
) -> LmLossResult:
    """Mean loss over sequences of the training length.

    Each begins with begin-of-text, as lm-evaluation-harness's rolling loss does; of a tokenizer that has none (the
    ladder's own) each sequence's first token is context only. Bits per byte are those of the tokens predicted; of
    shards, which know no single token's bytes, the average over the split.
    """
    context = len(text.start)
    length = min(sequence_length - context, len(text.tokens))
    if length < (1 if context else 2):
        raise UserError(f"lm_loss {loss.name}: sequences of {sequence_length} tokens leave none to predict")
    count = len(text.tokens) // length
    body = torch.from_numpy(text.tokens[: count * length].reshape(count, length))
    sequences = torch.cat([torch.from_numpy(text.start).expand(count, -1), body], dim=1)
    predicted = slice(0 if context else 1, None)
    bytes_per_token = text.bytes_per_token
    if text.token_bytes is not None:
        bytes_per_token = float(text.token_bytes[: count * length].reshape(count, length)[:, predicted].mean())
    rows = max(1, scorer.budget.tokens // sequences.shape[1])
    per_sequence = np.zeros(len(sequences))
    with evaluating(scorer.model):
        for start in range(rows * processes.rank, len(sequences), rows * processes.count):
            losses = scorer.sequence_losses(sequences[start : start + rows], context or 1)
            per_sequence[start : start + rows] = losses.double().cpu().numpy()
    per_sequence = processes.add(per_sequence)
    if not np.isfinite(per_sequence).all():
        raise UserError(f"lm_loss {loss.name} is not a finite number (NaN or infinite weights?)")
    nats = float(per_sequence.mean())
    return LmLossResult(
        name=loss.name,
        nats_per_token=nats,
        bits_per_byte=nats / math.log(2) / bytes_per_token,
        tokens=body[:, predicted].numel(),
        stderr=float(per_sequence.std(ddof=1) / math.sqrt(len(per_sequence))) if len(per_sequence) > 1 else 0.0,
    )
