"""Shared fixtures: a tiny prepared corpus and a nano ladder small enough for a test."""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import multiprocessing
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from held import HANG_SECONDS, Hold
from hypothesis import settings

from ladder.process.cpu import usable_cores
from ladder.runs.rundir import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

settings.register_profile("any speed", deadline=None)
settings.load_profile("any speed")

FIRST = ("test_train_", "test_ladder_", "test_end_to_end", "test_predict_analyses")  # files of minutes


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests that start processes also wait for them."""
    return usable_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files go first, so that no core is idle while the last one runs."""
    items.sort(key=lambda item: not item.path.name.startswith(FIRST))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory with the paper's tables and AI2's published measurements, which are never part of the project."""
    if not (SHARED / "olmo-ladder" / "runs").is_dir():
        pytest.skip("AI2's measurements are not at ../shared/olmo-ladder/runs")
    return SHARED


def run_module(*words: str) -> subprocess.CompletedProcess[str]:
    if words[0] == "-m" and words[1] in ("train", "evaluate"):
        return _run_forked(words, dict(os.environ))
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)


def run_ranks(number: int, *words: str, per_node: int | None = None) -> list[subprocess.CompletedProcess[str]]:
    """`python WORD …` as so many processes of one group; this one does what torchrun does for them.

    per_node: so many of them take each other for one node's.
    """
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(number)}
    group |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_WORLD_SIZE": str(per_node or number)}

    def run(rank: int) -> subprocess.CompletedProcess[str]:
        return _run_forked(words, dict(os.environ) | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["train.setup", "evaluate.session", "evaluate.hook"])


def _run_forked(words: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`python -m …` in a process of its own, forked from one that has imported torch: that takes most of the time."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("out", "err")]
        process = FORKSERVER.Process(target=_main, args=(words, paths, environment))
        process.start()
        process.join(HANG_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(words), HANG_SECONDS)
        out, err = (path.read_text() for path in paths)
    return subprocess.CompletedProcess(list(words), process.exitcode, out, err)


def _main(words: tuple[str, ...], paths: list[Path], environment: dict[str, str]) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = list(words[1:])
    try:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        import torch.distributed as dist

        if end.code == 0 and dist.is_initialized():
            sys.exit("it ends inside a process group, whose threads may abort it")
        raise


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python WORD …` in the checkout and returns the finished process."""
    return run_module


@pytest.fixture
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan of another test."""
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with two checkpoints, to be evaluated."""
    from evaluated_run import write_run  # with torch, which most tests do without

    return write_run(tmp_path)


@pytest.fixture
def hold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hold]:
    """Holds processes at a step of a run, until the test lets them go on or ends."""
    hold = Hold(tmp_path_factory.mktemp("hold"))
    yield hold
    hold.release_all()


def assert_user_error(done: subprocess.CompletedProcess[str], *fragments: str) -> None:
    """Exit code 2 and one line on standard error that holds every fragment."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: "), done.stderr
    for fragment in fragments:
        assert fragment in lines[0], done.stderr


def write_shards(directory: Path, splits: dict[str, np.ndarray], vocab_size: int, shard_tokens: int = 10**9) -> None:
    """Prepared data as `scripts/prepare_data.py` writes it, from given token ids."""
    from ladder.files.hashing import sha256_of
    from ladder.files.writing import write_json
    from ladder.records.shards import token_dtype

    directory.mkdir(parents=True, exist_ok=True)
    dtype = token_dtype(vocab_size)
    manifest = {"schema": 1, "name": "test", "dtype": dtype.str, "vocab_size": vocab_size, "tokenizer_sha256": ""}
    manifest["splits"] = {}
    for split, tokens in splits.items():
        shards = []
        for number, start in enumerate(range(0, len(tokens), shard_tokens)):
            path = directory / f"{split}-{number:05d}.bin"
            part = tokens[start : start + shard_tokens].astype(dtype)
            path.write_bytes(part.tobytes())
            shards.append({"file": path.name, "tokens": len(part), "sha256": sha256_of(path)})
        manifest["splits"][split] = {"tokens": len(tokens), "bytes": 4 * len(tokens), "documents": 1, "shards": shards}
    write_json(directory / "manifest.json", manifest)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of 512 token ids with some structure to learn, and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from ladder.files.hashing import sha256_of

    directory = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    follow = rng.integers(1, 512, size=(512, 4))
    tokens = np.empty(90_000, np.int64)
    state = 1
    for index, choice in enumerate(rng.integers(0, 4, size=len(tokens))):
        state = int(follow[state, choice])
        tokens[index] = state
    write_shards(directory, {"train": tokens[:50_000], "val": tokens[50_000:]}, 512, shard_tokens=17_001)
    vocabulary = {"<|endoftext|>": 0} | {f"w{index}": index for index in range(1, 512)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.save_pretrained(directory / "tokenizer")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["tokenizer_sha256"] = sha256_of(directory / "tokenizer" / "tokenizer.json")
    (directory / "manifest.json").write_text(json.dumps(manifest))
    for task in ("next_phrase", "word", "order", "agree"):  # the files that configs/suite/nano.yaml names
        items = [{"context": f"w{i + 1} w{i + 2}", "choices": [" w3 w4", " w5 w6"], "gold": i % 2} for i in range(20)]
        path = directory / "suite" / f"{task}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return directory


def make_trainer(corpus: Path, directory: Path, *more: str):
    """A trainer of the smallest nano rung, in this process; run directory `directory`/nano/n0-1xC."""
    from ladder.config.config import compose, config_of, ladder_from_config
    from ladder.config.data import open_data
    from ladder.runs.identity import run_identity
    from ladder.runs.rundir import RunDirectory
    from train.__main__ import begin
    from train.setup import build_trainer

    words = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32", f"data.directory={corpus}"]
    node = compose([*words, "ladder.recipe.batch_multiple_of=2", f"runs_dir={directory}", *more])
    config = config_of(node)
    rung = ladder_from_config(config).rung("n0-1xC")
    run = RunDirectory(directory / "nano" / rung.name)
    begin(node, rung, run, run_identity(config, rung, open_data(config.data)))
    return build_trainer(config, rung, open_data(config.data), run)
