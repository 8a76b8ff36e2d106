"""Whatever is wrong with a file that predict reads is said in a few short lines that name it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from fuzzing import COUNTS, answer_of, as_csv, as_json, assert_sound, contents, fuzz, rows, values
from hypothesis import strategies as st
from simulated_ladder import ACCURACY, LM_LOSS, LOSS, rows_of

from ladder.errors import UserError
from predict.__main__ import main
from predict.measured.table import table_of

SIZES, MULTIPLES = {"10M": 1e7, "20M": 2e7}, (1, 2)
SHARE = 10  # formats among which the examples are divided
TARGET = ("--n", "1e9", "--d", "2e10", "--method", "default", "--json")


def points() -> list[tuple[str, str, float, float]]:
    return [(f"{size}-{m}xC", size, n, 20 * n * m) for size, n in SIZES.items() for m in MULTIPLES]


def long_rows() -> list[dict[str, Any]]:
    return [row for point in points() for row in rows_of(*point, checkpoints=2)]


def as_rows(records: list[dict[str, Any]]) -> list[list[str]]:
    return [list(records[0]), *([str(value) for value in record.values()] for record in records)]


def predicted(path: Path, *names: str, words: tuple[str, ...] = ()) -> None:
    answer = answer_of(main, ["--ladder", str(path), *TARGET, *words])
    assert_sound(answer, *names)
    if not answer.refused:
        for p in json.loads(answer.out, parse_constant=pytest.fail)["predictions"]:
            assert 0 <= p["accuracy"] <= 1


def share(count: int) -> int:
    return count // SHARE


@pytest.mark.parametrize("count", COUNTS)
def test_a_table_of_rows(count: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    right = as_rows(long_rows())

    @fuzz(share(count), rows(right))
    def check(table: list[list[str]]) -> None:
        path.write_bytes(as_csv(table))
        predicted(path, "rows.csv")

    @fuzz(share(count), contents(as_csv(right)))
    def check_bytes(content: bytes) -> None:
        path.write_bytes(content)
        predicted(path, "rows.csv")


@pytest.mark.parametrize("count", COUNTS)
def test_a_mapping_and_a_wide_table(count: int, tmp_path: Path) -> None:
    table, mapping = tmp_path / "wide.csv", tmp_path / "mapping.yaml"
    right = [
        ["name", "params", "budget", "quiz", "loss", "comment"],
        *(
            [run, str(n), str(d), str(float(ACCURACY(LOSS(n, d)))), str(float(LM_LOSS(n, d))), ""]
            for run, _, n, d in points()
        ),
    ]
    node = {
        "columns": {"run": "name", "n": "params", "d": "budget"},
        "measurements": {
            "quiz": {"task": "quiz", "metric": "rc_acc", "chance": 0.25, "items": 1000, "split": "test"},
            "loss": {"task": "text", "metric": "lm_loss"},
        },
        "tasks": {"quiz": {"chance": 0.25, "items": 1000}},
    }
    words = ("--mapping", str(mapping))

    @fuzz(share(count), values(node))
    def check_mapping(value: Any) -> None:
        table.write_bytes(as_csv(right))
        mapping.write_text(yaml.safe_dump(value), encoding="utf-8")
        predicted(table, "mapping.yaml", "wide.csv", words=words)

    @fuzz(share(count), st.tuples(contents(yaml.safe_dump(node).encode()), rows(right)))
    def check_both(both: tuple[bytes, list[list[str]]]) -> None:
        content, changed = both
        mapping.write_bytes(content)
        table.write_bytes(as_csv(right))
        predicted(table, "mapping.yaml", "wide.csv", words=words)
        mapping.write_text(yaml.safe_dump(node))
        table.write_bytes(as_csv(changed))
        predicted(table, "mapping.yaml", "wide.csv", words=words)


@pytest.mark.parametrize("count", COUNTS)
def test_results_of_lm_eval_and_runs_csv(count: int, tmp_path: Path) -> None:
    def content(model: str, n: float, d: float) -> dict[str, Any]:
        accuracy = float(ACCURACY(LOSS(n, d)))
        return {
            "results": {
                "arc_easy": {"acc,none": accuracy, "acc_norm,none": accuracy, "alias": "arc_easy"},
                "mine": {"acc,none": accuracy, "alias": "mine"},
                "wikitext": {"bits_per_byte,none": float(LM_LOSS(n, d)), "alias": "wikitext"},
            },
            "n-samples": {"arc_easy": {"original": 2376, "effective": 2376}},
            "group_subtasks": {"arc_easy": []},
            "config": {"model_args": f"pretrained={model}"},
        }

    paths = {}
    for run, _, n, d in points():
        paths[run] = tmp_path / run / "results_2026-01-01.json"
        paths[run].parent.mkdir()
        paths[run].write_bytes(as_json(content(run, n, d)))
    first = next(iter(paths))
    samples = tmp_path / first / "samples_mine_2026-01-01.jsonl"
    sample = {"doc_id": 1, "arguments": {f"gen_args_{i}": {"arg_0": "q", "arg_1": "a"} for i in range(4)}}
    samples.write_bytes(as_json(sample) + b"\n")
    listed = [["model", "run", "n", "d", "chance"], *([run, run, str(n), str(d), "0.25"] for run, _, n, d in points())]
    runs = tmp_path / "runs.csv"
    runs.write_bytes(as_csv(listed))
    right = content(first, *points()[0][2:])
    predicted(tmp_path)

    @fuzz(share(count), values(right))
    def check(value: Any) -> None:
        paths[first].write_bytes(as_json(value))
        predicted(tmp_path, "results_2026-01-01.json", tmp_path.name)

    paths[first].write_bytes(as_json(right))

    @fuzz(share(count), st.tuples(rows(listed), st.one_of(values(sample).map(as_json), contents(as_json(sample)))))
    def check_runs(both: tuple[list[list[str]], bytes]) -> None:
        runs.write_bytes(as_csv(both[0]))
        samples.write_bytes(as_json(sample))
        predicted(tmp_path, "runs.csv", tmp_path.name)
        runs.write_bytes(as_csv(listed))
        samples.write_bytes(both[1])
        predicted(tmp_path, "samples_mine", tmp_path.name)


@pytest.mark.parametrize("count", COUNTS)
def test_run_directories(count: int, tmp_path: Path) -> None:
    from omegaconf import OmegaConf
    from test_predict_runs import write_run

    from ladder.config.config import compose, config_of
    from ladder.files.reading import read_json, read_yaml

    config = compose(["ladder=nano"])
    text = OmegaConf.to_yaml(config)
    for rung in config_of(config).ladder.build().select(["n0", "n1"], [1, 2]):
        write_run(tmp_path, rung.name, rung.size, rung.n, rung.d, text)
    run = tmp_path / "n0-1xC"
    metrics = run / "metrics" / "step-0000005.json"
    files = {
        "run.json": ({"hparams": {"schedule": "cosine"}}, as_json),
        "metrics": (read_json(metrics), as_json),
        "config.yaml": (read_yaml(run / "config.yaml"), as_yaml),
    }
    paths = {"run.json": run / "run.json", "metrics": metrics, "config.yaml": run / "config.yaml"}

    def trial(kind: str) -> st.SearchStrategy[tuple[str, bytes]]:
        value, write = files[kind]
        changed = st.one_of(values(value).map(write), contents(write(value)))
        return st.tuples(st.just(kind), changed)

    @fuzz(2 * share(count), st.one_of(*map(trial, files)))
    def check(changed: tuple[str, bytes]) -> None:
        kind, content = changed
        before = paths[kind].read_bytes()
        paths[kind].write_bytes(content)
        predicted(tmp_path, paths[kind].name, tmp_path.name)
        paths[kind].write_bytes(before)


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value).encode()


@pytest.mark.parametrize("count", COUNTS)
def test_parquet_files(count: int, tmp_path: Path) -> None:
    path = tmp_path / "kept.parquet"
    table_of(long_rows(), "right").to_parquet(path)
    right = path.read_bytes()
    records = long_rows()[:12]
    about = {
        "ladder": {"name": "nano"},
        "sizes": {},
        "origin": "",
        "notes": [{"code": "few-rungs", "severity": "note", "values": {"count": 3}}],
    }

    @fuzz(share(count), contents(right))
    def check_bytes(content: bytes) -> None:
        path.write_bytes(content)
        predicted(path, "kept.parquet")

    @fuzz(share(count), st.tuples(values(records), st.none() | values(about)))
    def check(both: tuple[Any, Any]) -> None:
        try:
            table = pa.Table.from_pandas(pd.DataFrame(both[0]))
        except Exception:  # what Arrow cannot write is in no file
            return
        if both[1] is not None:
            table = table.replace_schema_metadata({b"model_ladder": as_json(both[1])})
        pq.write_table(table, path)
        predicted(path, "kept.parquet")


@pytest.mark.parametrize("count", COUNTS)
def test_ai2s_files(count: int, tmp_path: Path) -> None:
    def content(n: float, d: float) -> list[list[str]]:
        losses = [float(LOSS(n, d * step / 4)) for step in range(1, 5)]
        scores = [[str(loss), str(float(ACCURACY(loss)))] for loss in losses]
        names = [f"eval/downstream{kind}" for kind in ("_bpb/piqa_val_rc_5shot_bpb", "/piqa_val_rc_5shot_len_norm")]
        header = ["_step", "batch_size_in_tokens", "throughput/total_tokens", *names]
        return [header, *([str(i + 1), str(d / 4), str(d * (i + 1) / 4), *scores[i]] for i in range(4))]

    for multiple in (1, 2, 5, 10):
        path = tmp_path / f"190M-{multiple}xC.csv"
        path.write_bytes(as_csv(content(1.9e8, 3.8e9 * multiple)))
    right = content(1.9e8, 3.8e9)
    predicted(tmp_path)

    @fuzz(2 * share(count), rows(right).map(as_csv) | contents(as_csv(right)))
    def check(changed: bytes) -> None:
        (tmp_path / "190M-1xC.csv").write_bytes(changed)
        predicted(tmp_path, "190M-1xC.csv", tmp_path.name)


@pytest.mark.parametrize("count", COUNTS)
def test_runs_of_wandb(count: int, tmp_path: Path) -> None:
    from predict.measured.mapping import Mapping
    from predict.measured.wandb_runs import read_project

    def row(n: float, d: float, step: int) -> dict[str, Any]:
        loss = float(LOSS(n, d * step / 2))
        return {"_step": step, "eval/downstream_bpb/piqa_val_rc_5shot_bpb": loss}

    logged = [
        {"name": run, "config": {"n": n, "d": d, "size": size}, "history": [row(n, d, 1), row(n, d, 2)]}
        for run, size, n, d in points()
    ]

    @fuzz(share(count), values(logged))
    def check(changed: Any) -> None:
        """What the API gives: names are texts, configurations and rows of history mappings."""
        runs = [
            SimpleNamespace(name=one["name"], config=one["config"], scan_history=lambda one=one: iter(one["history"]))
            for one in (changed if isinstance(changed, list) else [])
            if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("config"), dict)
            if isinstance(one.get("history"), list) and all(isinstance(row, dict) for row in one["history"])
        ]
        try:
            read_project("wandb:team/ladder", Mapping(), SimpleNamespace(runs=lambda _: runs))
        except UserError as error:
            assert len(str(error)) <= 300 and "wandb:team/ladder" in str(error)

    path = tmp_path / "run-1.wandb"
    right = b":W&B\x00\x00\x00" + struct.pack("<IHB", 0, 4, 1) + b"\x08\x01\x10\x02"

    @fuzz(share(count), contents(right))
    def check_offline(content: bytes) -> None:
        path.write_bytes(content)
        predicted(tmp_path, "run-1.wandb", tmp_path.name)


@pytest.mark.parametrize("count", COUNTS)
def test_laws(count: int, tmp_path: Path) -> None:
    path = tmp_path / "laws.json"
    right = json.loads((ROOT / "predict" / "laws" / "olmo2.json").read_text())
    right["tasks"] = {name: right["tasks"][name] for name in ("mmlu", "piqa")}

    @fuzz(2 * share(count), values(right).map(as_json) | contents(as_json(right)))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        assert_sound(answer_of(main, ["--laws", str(path), "--n", "1e9", "--d", "2e10", "--json"]), "laws.json")


@pytest.mark.parametrize("count", COUNTS)
def test_forecasts(count: int, tmp_path: Path) -> None:
    ladder, path = tmp_path / "rows.csv", tmp_path / "forecast.json"
    run = rows_of("30M-2xC", "30M", 3e7, 1.2e9, checkpoints=2)
    ladder.write_bytes(as_csv(as_rows([*long_rows(), *run])))
    assert main(["register", "--ladder", str(ladder), "--n", "3e7", "--d", "1.2e9", "--output", str(path)]) == 0
    right = json.loads(path.read_text())
    del right["laws"]["tasks"]  # plain values, of which nothing is read

    @fuzz(share(count), st.one_of(values(right).map(as_json), contents(as_json(right))))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        for words in (
            ["score", str(path), "--measured", str(ladder)],
            ["track", "--ladder", str(ladder), "--run", "30M-2xC", "--forecast", str(path)],
        ):
            answer = answer_of(main, [*words, "--json"])
            assert_sound(answer, "forecast.json", "rows.csv", "30M-2xC")
            if not answer.refused:
                json.loads(answer.out, parse_constant=pytest.fail)
