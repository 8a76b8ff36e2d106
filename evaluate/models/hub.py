"""A model by its name on the Hugging Face hub (`owner/name`, `owner/name@revision`), as a directory here."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ladder.errors import UserError, shortened

_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+|[\w.-]+(?=@))(@(?P<revision>[\w./-]+))?")
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]


def is_hub_name(word: str) -> bool:
    """Whether it could name a model there, and is no path of this machine."""
    return _NAME.fullmatch(word) is not None and not Path(word).exists()


def fetch_model(name: str, allow_pickle: bool = False, trust_remote_code: bool = False) -> Path:
    """The model's files in the hub's cache, fetched if they are not there.

    Raises:
        UserError: there is no such model or revision, it has pickled weights alone, or the hub cannot be reached; at
            once, without trying again.
    """
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars

    match = _NAME.fullmatch(name)
    assert match is not None  # is_hub_name
    disable_progress_bars()
    print(f"looking for {name} on the Hugging Face hub", file=sys.stderr, flush=True)
    patterns = [*_FILES, *(["*.bin"] if allow_pickle else []), *(["*.py"] if trust_remote_code else [])]
    try:
        fetched = Path(
            huggingface_hub.snapshot_download(
                match["repo"], revision=match["revision"], allow_patterns=patterns, ignore_patterns=["*/*"]
            )
        )
    except Exception as error:  # the client's own kinds, and those of whichever HTTP library it uses
        raise UserError(
            f"{name} does not exist here, and cannot be had from the Hugging Face hub: {_reason(error)}"
        ) from None
    if not allow_pickle and not next(fetched.glob("*.safetensors"), None):
        raise UserError(
            f"{name} has no weights as safetensors on the Hugging Face hub; if it has pickled ones and you trust them "
            "(they are read with weights_only), add --allow-pickle"
        )
    return fetched


def hub_revision(snapshot: Path) -> str:
    """`owner/name@revision` of a directory of the hub's cache (models--owner--name/snapshots/COMMIT); "" of others.

    A commit that no revision but main is known by is `owner/name`.
    """
    if snapshot.parent.name != "snapshots":
        return ""
    name = snapshot.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    refs = snapshot.parent.parent / "refs"
    for ref in sorted(path for path in refs.rglob("*") if path.is_file()):
        revision = str(ref.relative_to(refs))
        if revision != "main" and ref.read_text().strip() == snapshot.name:
            return f"{name}@{revision}"
    return name


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, errors.GatedRepoError):
        return "it asks for leave on its page, and for a log-in (hf auth login)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such model, or it is not public (hf auth login)"
    if isinstance(error, errors.LocalEntryNotFoundError):  # neither the hub nor a copy
        offline = "disabled" in str(error)
        return "HF_HUB_OFFLINE is set" if offline else f"the hub cannot be reached ({shortened(str(error), 80)})"
    return shortened(str(error), 120)
