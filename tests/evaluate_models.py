"""Tiny random models, a byte-level tokenizer and documents for the evaluator's tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedTokenizerFast,
)

from evaluate.tasks.tasks import AnyDocument, Document, GoldDocument
from evaluate.tokens.tokenizer import Encoder

ARCHITECTURES = {
    "olmo2": (Olmo2Config, Olmo2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM),
}
VOCABULARY = 400
TEXT = (
    "The cat sat on the mat while the dogs were barking at the moon. Question: which of these animals is the largest? "
    "Answer: the elephant, because it weighs more than a horse or a cow. Sarah was a better surgeon than Maria. "
)


def tiny_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<s>"],
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 3, trainer)
    if bos:
        from tokenizers.processors import TemplateProcessing

        backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", **({"bos_token": "<s>"} if bos else {})
    )


def tiny_model(architecture: str = "olmo2", seed: int = 0, context: int = 256, **changes: Any) -> Any:
    """Weights are larger than at initialisation, so that a wrong mask or position shows."""
    config, model = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    values = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": context,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    made = model(config(**values | changes))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return made


def one_by_one(model: Any, encoder: Encoder, documents: Sequence[AnyDocument], context: int) -> np.ndarray:
    """The reference: each request alone, its context and continuation encoded apart and cut from the left."""
    scores = []
    model.eval()
    for document in documents:
        for text, choice in zip(document.contexts, document.choices, strict=True):
            prompt = [*encoder.start, *encoder.encode([text])[0].tolist()]
            answer = encoder.encode([choice])[0].tolist()
            inputs = (prompt + answer[:-1])[-context:]
            with torch.no_grad():
                logits = model(torch.tensor([inputs])).logits[0].double().log_softmax(-1)
            scores.append(sum(float(logits[len(inputs) - len(answer) + i, token]) for i, token in enumerate(answer)))
    return np.array(scores)


def documents(kind: str, count: int = 7) -> list[Document]:
    """RC and MC behind a shared prompt; `winogrande`'s contexts differ and its continuation is common."""
    rng = np.random.default_rng(3)
    words = TEXT.split()

    def phrase(length: int) -> str:
        return " ".join(rng.choice(words, size=length))

    prompt = "Question: which animals bark? Answer: the dogs\n\n" if kind != "winogrande" else phrase(12) + "\n\n"
    made = []
    for number in range(count):
        choices = 2 if kind == "winogrande" else 3 + number % 3
        question = phrase(3 + number)
        if kind == "rc":
            contexts, texts = [f"{prompt}Question: {question}\nAnswer:"] * choices, []
            for choice in range(choices):  # two leading spaces, identical choices and trailing spaces do occur
                texts.append([" the dogs", "  the moon", " the dogs", " a cow ", f" {phrase(4)}"][choice])
        elif kind == "mc":
            options = "".join(f" {letter}. {phrase(2)}\n" for letter in "ABCDE"[:choices])
            contexts = [f"{prompt}Question: {question}\n{options}Answer:"] * choices
            texts = [f" {letter}" for letter in "ABCDE"[:choices]]
        else:
            contexts = [f"{prompt}{question} {name}" for name in ("Sarah", "Maria")]
            texts = [f" {phrase(4)}"] * 2
        made.append(Document(id=str(number), contexts=tuple(contexts), choices=tuple(texts), gold=number % choices))
    return made


def gold_documents(count: int = 6) -> list[GoldDocument]:
    """Answers of code, of prose behind a space, and one whose characters are not its bytes, behind a shared prompt."""
    answers = ["def f(x):\n    return x\n", " the elephant, because it weighs more", "    café = 1\n"]
    prompt = "Question: which animals bark?\nAnswer: the dogs\n\n"
    return [
        GoldDocument(
            id=str(number), context=f"{prompt}Question: {'cow ' * number}\nAnswer:", answer=answers[number % 3]
        )
        for number in range(count)
    ]


def write_gold_jsonl(path: Path, made: Sequence[GoldDocument]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"context": d.context, "answer": d.answer}) + "\n" for d in made))
    return path


def write_jsonl(path: Path, made: Sequence[Document]) -> Path:
    rows = [{"context": list(d.contexts), "choices": list(d.choices), "gold": d.gold} for d in made]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_checkpoint(path: Path, model: Any | None = None, tokenizer: Any | None = None) -> Path:
    (model or tiny_model()).save_pretrained(path)
    (tokenizer or tiny_tokenizer()).save_pretrained(path)
    return path
