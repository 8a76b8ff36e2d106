"""Rows of a dataset: files on this machine, or one of the Hugging Face hub, as `datasets` reads them."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from typing import Any

from ladder.errors import UserError, shortened

OF_FILES = ("json", "text", "parquet", "csv", "arrow")  # readers of `datasets` that need data_files


def rows_of(settings: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with where it stands: the file, where that is known.

    Args:
        settings: of `data.source.dataset`, as `datasets.load_dataset` takes them.

    Raises:
        UserError: a file that is not there or cannot be read, which is named; no rows.
    """
    _check_files(settings)
    where = f"data.source.dataset {shortened(str(settings), 120)}"
    try:
        for file, rows in _parts(settings):
            where = file or where
            for row in rows:
                yield where, row
    except UserError:
        raise
    except Exception as error:  # each format, and each way of packing, has errors of its own
        reason = shortened(str(error) or type(error).__name__, 80)
        raise UserError(f"{shortened(where, 200)} cannot be read: {reason}") from None


def _check_files(settings: dict[str, Any]) -> None:
    """Before `datasets`, which takes seconds to say it in many words."""
    if settings.get("path") not in OF_FILES:
        return
    where = "data.source.dataset.data_files"
    patterns = _texts(settings.get("data_files"))
    if not patterns:
        raise UserError(f"{where} is missing: the files that hold the text, such as texts/*.jsonl")
    for pattern in patterns:
        if "://" not in pattern and not glob.glob(pattern, recursive=True):  # noqa: PTH207 (it may be absolute)
            raise UserError(f"{where}: {shortened(pattern, 160)} does not exist; put the text there or name another")


def _texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        node = list(node.values())
    return [text for item in node for text in _texts(item)] if isinstance(node, list) else [str(node)] * bool(node)


def _parts(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The rows file by file, where they come from files of which each is a part; else all at once under no name."""
    import datasets

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its own lines beside ours on a file it cannot read
    split = settings.get("split", "train")
    options = {key: value for key, value in settings.items() if key not in ("split", "streaming")}
    builder = datasets.load_dataset_builder(**options)
    files = [str(file) for file in (builder.config.data_files or {}).get(split, [])]
    rows = _opened(builder, split)
    if rows is None and len(files) > 1:  # `datasets` looks into some of them first: which one is it?
        for file in files:
            yield from _parts(settings | {"data_files": {split: [file]}})
    elif rows is None:
        yield files[0] if files else "", _failing(builder, split)
    elif len(files) == rows.num_shards:
        yield from ((file, rows.shard(num_shards=len(files), index=i)) for i, file in enumerate(files))
    else:
        yield "", rows


def _opened(builder: Any, split: str) -> Any:
    """None where a file of it cannot be read."""
    try:
        return builder.as_streaming_dataset(split=split)
    except Exception:
        return None


def _failing(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """Says why, once it is known of which file."""
    try:
        yield from builder.as_streaming_dataset(split=split)
    except StopIteration:
        raise ValueError("it holds no rows") from None
