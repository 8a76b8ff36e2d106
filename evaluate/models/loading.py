"""A checkpoint on disk becomes a model: its configuration and its weights, checked before memory is spent on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluate.models.checkpoint import Checkpoint, read_header
from evaluate.models.foreign import CONFIG_FILE, quantisation
from evaluate.tokens.tokenizer import TRUST, needs_trust
from ladder.errors import UserError, shortened
from ladder.files.reading import read_json

LARGEST_SIZE = 2**31  # of any whole number that shapes a model
MOST_LAYERS = 10_000
STORED_SHARE = 16  # quantised weights are stored in as little as an eighth of their elements


def load_config(checkpoint: Checkpoint, trust_remote_code: bool = False) -> Any:
    """The checkpoint's Hugging Face configuration.

    Raises:
        UserError: it is absent, is no configuration of a causal language model, or has sizes that no model has.
    """
    from transformers import AutoConfig

    path = checkpoint.path / CONFIG_FILE
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a mapping, not {type(content).__name__}")
    try:
        config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=trust_remote_code)
        text = config.get_text_config()
    except Exception as error:  # what a wrong value raises depends on the model's code
        if needs_trust(error):
            raise UserError(f"{checkpoint.path} is a model that transformers does not have: {TRUST}") from None
        raise UserError(f"{path} is not a usable model configuration ({_reason(error)})") from None
    _check_sizes(path, content)
    if type(getattr(text, "vocab_size", None)) is not int:
        raise UserError(f"{path} names no vocab_size, so it is of no language model")
    return config


def _check_sizes(path: Any, content: dict[str, Any]) -> None:
    """Raises UserError for sizes beyond any model's: building one of them would not end."""
    for key, value in content.items():
        if key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers") and not _is_count(value, MOST_LAYERS):
            raise UserError(f"{path}: {key} = {shortened(str(value))}: must be a whole number of 1 to {MOST_LAYERS:,}")
        if key in _SIZES and not (value is None or _is_count(value, LARGEST_SIZE)):
            raise UserError(f"{path}: {key} = {shortened(str(value))}: must be a whole number of 1 to {LARGEST_SIZE:,}")


_SIZES = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("max_position_embeddings", "n_positions", "n_embd", "n_head", "n_inner", "n_ctx", "d_model", "ffn_dim"),
}


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def load_model(
    checkpoint: Checkpoint, dtype: str, device: str, allow_pickle: bool = False, trust_remote_code: bool = False
) -> Any:
    """The causal language model, its weights in `dtype` on `device`.

    Raises:
        UserError: weights that are absent, truncated, incomplete, of other shapes, or pickled without leave.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would draw over ours
    logging.set_verbosity_error()  # what it would warn of is an error below
    checkpoint.weight_files()
    if not checkpoint.safetensors and not allow_pickle:
        raise UserError(
            f"{checkpoint.path} has pickled weights only, which can run code when read; "
            "save them as safetensors, or add --allow-pickle if you trust the file (it is read with weights_only)"
        )
    _check_shapes(checkpoint, trust_remote_code)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
            use_safetensors=bool(checkpoint.safetensors),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds
        method = quantisation(checkpoint.path)
        what = f"its weights are quantised ({method}) and" if method else "its weights"
        hint = "; measure the original ones" if method else ""
        raise UserError(f"{checkpoint.path}: {what} cannot be loaded ({_reason(error)}){hint}") from None
    _check_complete(checkpoint, info)
    return model.to(device)


def _check_complete(checkpoint: Checkpoint, info: Mapping[str, Any]) -> None:
    """`info` is what transformers found when it loaded the weights."""
    for kind in ("missing_keys", "mismatched_keys"):
        if bad := sorted(str(key[0] if isinstance(key, tuple) else key) for key in info[kind]):
            what = "are absent" if kind == "missing_keys" else "have another shape"
            raise UserError(
                f"{checkpoint.path}: weights do not fit its {CONFIG_FILE}: {len(bad)} tensors {what}, "
                f"the first is {shortened(bad[0])}"
            )


def _check_shapes(checkpoint: Checkpoint, trust_remote_code: bool) -> None:
    """Compares the model that the configuration describes, without memory for it, with what the files hold.

    Raises:
        UserError: it is of another size altogether, or a tensor of the same name has another shape.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(checkpoint, trust_remote_code)
    path = checkpoint.path / CONFIG_FILE
    try:
        with torch.device("meta"):
            described = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        shapes = {name: tuple(value.shape) for name, value in described.state_dict().items()}
        elements = sum(value.numel() for value in described.parameters())
    except Exception as error:  # what a wrong value raises depends on the model's code
        raise UserError(f"{path} does not describe a causal language model ({_reason(error)})") from None
    stored = sum(file.stat().st_size for file in checkpoint.weight_files())
    if elements > STORED_SHARE * stored:
        raise UserError(f"{path} describes {elements:,} parameters, its weight files have {stored:,} bytes only")
    if getattr(config, "quantization_config", None) is not None:
        return  # packed
    for file in checkpoint.safetensors:
        for name, tensor in read_header(file)[0].items():
            if shapes.get(name, tensor.shape) != tensor.shape:
                raise UserError(
                    f"{file}: {name} has the shape {list(tensor.shape)}, {CONFIG_FILE} asks for {list(shapes[name])}"
                )


def cast_parameters(model: Any, dtype: str) -> None:
    """Casts what is learned and leaves buffers as they are: rotary frequencies in bf16 turn angles by whole radians."""
    import torch

    for parameter in model.parameters():
        parameter.data = parameter.data.to({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])


def resolve_dtype(name: str, device: str) -> str:
    """auto: bf16 on a GPU, fp32 on a CPU."""
    return ("bf16" if device.startswith("cuda") else "fp32") if name == "auto" else name


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {shortened(str(error), 120)}"
