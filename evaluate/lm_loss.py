"""Language-model loss on running text: nats per token and bits per byte over a fixed number of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from evaluate.processes import Processes
from evaluate.scorer import Scorer, evaluating
from evaluate.suite import LmLoss
from evaluate.tokenizer import Encoder, load_tokenizer
from ladder.errors import UserError
from ladder.hashing import json_sha256
from ladder.metrics_file import LmLossResult
from ladder.reading import read_sha256, read_text
from ladder.shards import TokenShards


@dataclass(frozen=True, kw_only=True)
class RunningText:
    """Token ids (tokens,) int64, the UTF-8 bytes that a token of this text has on average, and what it is."""

    tokens: np.ndarray
    bytes_per_token: float
    fingerprint: str


def read_running_text(loss: LmLoss, encoder: Encoder, vocabulary: int) -> RunningText:
    """The first `loss.tokens` tokens.

    Raises:
        UserError: the text is shorter than that, is absent, is of another tokenizer, or its token ids exceed the
            model's vocabulary.
    """
    if loss.shards is not None:
        shards = TokenShards(loss.shards, loss.split)
        _check_tokenizer(loss, shards, encoder)
        total, size, fingerprint = shards.total, shards.bytes, shards.fingerprint
        tokens = shards.read(0, min(loss.tokens, total))
    else:
        assert loss.text is not None  # one of the two is set
        text = read_text(loss.text)
        ids = encoder.encode([text])[0].astype(np.int64)
        total, size, fingerprint = len(ids), len(text.encode()), read_sha256(loss.text)
        tokens = ids[: loss.tokens]
    if total < loss.tokens:
        raise UserError(f"lm_loss {loss.name} has {total} tokens, asked for {loss.tokens}; ask for fewer")
    if int(tokens.max()) >= vocabulary:
        raise UserError(
            f"lm_loss {loss.name}: token {tokens.max()} is outside the model's vocabulary of {vocabulary}; "
            "prepare the text with the checkpoint's tokenizer"
        )
    return RunningText(
        tokens=tokens,
        bytes_per_token=size / total,
        fingerprint=json_sha256([fingerprint, loss.split, loss.tokens, encoder.fingerprint()]),
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
    """Mean loss over sequences of the training length; each sequence's first token is context only.

    Bits per byte spread the loss over the text's average bytes per token.
    """
    count = len(text.tokens) // sequence_length
    if count == 0:
        sequences = torch.from_numpy(text.tokens[None])
    else:
        sequences = torch.from_numpy(text.tokens[: count * sequence_length].reshape(count, sequence_length))
    rows = max(1, scorer.batch_tokens // sequences.shape[1])
    per_sequence = np.zeros(len(sequences))
    with evaluating(scorer.model):
        for start in range(rows * processes.rank, len(sequences), rows * processes.count):
            losses = scorer.sequence_losses(sequences[start : start + rows])
            per_sequence[start : start + rows] = losses.double().cpu().numpy()
    per_sequence = processes.add(per_sequence)
    if not np.isfinite(per_sequence).all():
        raise UserError(f"lm_loss {loss.name} is not a finite number (NaN or infinite weights?)")
    nats = float(per_sequence.mean())
    return LmLossResult(
        name=loss.name,
        nats_per_token=nats,
        bits_per_byte=nats / math.log(2) / text.bytes_per_token,
        tokens=int(sequences.numel() - len(sequences)),
        stderr=float(per_sequence.std(ddof=1) / math.sqrt(len(per_sequence))) if len(per_sequence) > 1 else 0.0,
    )
