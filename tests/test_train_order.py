"""Data order: which tokens a step sees depends on the seed and the step alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder.config.config import ladder_from_config, load_config
from ladder.config.data import DataSettings, Mix, Part, check_data, open_data
from ladder.errors import UserError
from ladder.files.hashing import sha256_of
from ladder.records.shards import TokenShards
from train.order import BatchOrder, permute


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permutations_of_two_keys_are_unrelated() -> None:
    first, second = (permute(np.arange(5000), 5000, key) for key in (1, 2))
    assert (first == second).mean() < 0.005
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


def single(directory: Path) -> Mix:
    return Mix((TokenShards(directory, "train"),), (1.0,))


@pytest.fixture
def order(tmp_path: Path) -> BatchOrder:
    write_shards(tmp_path, {"train": np.arange(1003), "val": np.arange(5)}, 2048, shard_tokens=300)
    return BatchOrder(single(tmp_path), sequence_length=10, batch_sequences=7, seed=3)


def test_an_epoch_visits_every_window_once(order: BatchOrder) -> None:
    starts = np.concatenate([order.starts(step)[1] for step in range(1, 16)])
    first, second = starts[: order.windows[0]], starts[order.windows[0] :]
    assert order.windows == (99,)
    assert sorted(first) == [10 * window for window in range(99)]
    assert len({start % 10 for start in second}) == 1  # one offset for the whole second epoch
    assert len(set(second)) == len(second)


def test_tokens_are_the_windows(order: BatchOrder) -> None:
    batch = order.batch(4)
    assert batch.shape == (7, 10)
    assert (batch == order.starts(4)[1][:, None] + np.arange(10)).all()


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_share_the_same_batch(order: BatchOrder, processes: int) -> None:
    for step in (1, 14, 15, 64, 65):  # 15 crosses an epoch, 64 and 65 a block
        whole = order.batch(step)
        parts = np.concatenate([order.batch(step, rank, processes) for rank in range(processes)])
        assert sorted(map(tuple, whole)) == sorted(map(tuple, parts))


def test_order_does_not_depend_on_where_it_starts(order: BatchOrder) -> None:
    sequence = [order.starts(step)[1].copy() for step in range(1, 200)]
    assert all((order.starts(step)[1] == sequence[step - 1]).all() for step in (150, 1, 199, 64, 65, 3))


def test_a_mix_keeps_its_shares_and_reads_each_source_once_an_epoch(tmp_path: Path) -> None:
    for number, name in enumerate(("web", "code", "books")):
        write_shards(tmp_path / name, {"train": np.arange(10_000) % 100 + 100 * number}, 512)
    mix = Mix(tuple(TokenShards(tmp_path / name, "train") for name in ("web", "code", "books")), (5, 3, 2))
    order = BatchOrder(mix, sequence_length=10, batch_sequences=7, seed=0)
    batches = np.stack([order.batch(step) for step in range(1, 129)])
    source = batches[:, :, 0] // 100
    assert (batches // 100 == source[:, :, None]).all()
    for half in (source[:64], source[64:]):
        assert [(half == number).sum() for number in range(3)] == [224, 134, 90]  # 5 : 3 : 2 of 448
    assert len(np.unique(source, axis=0)) > 100  # mixed within batches
    starts = np.concatenate([order.starts(step)[1][order.starts(step)[0] == 2] for step in range(1, 129)])
    assert len(set(starts)) == len(starts) == 180
    rest = np.concatenate([order.batch(70, rank, 3) for rank in range(3)])
    assert sorted(map(tuple, rest)) == sorted(map(tuple, order.batch(70)))


def test_a_share_too_small_to_be_read_is_refused(tmp_path: Path) -> None:
    for name in ("web", "rare"):
        write_shards(tmp_path / name, {"train": np.arange(5000) % 300}, 512)
    mix = Mix(tuple(TokenShards(tmp_path / name, "train") for name in ("web", "rare")), (1, 0.001))
    with pytest.raises(UserError, match=r"rare: its share of the mix, 0\.001, is less than one of the 256 sequences"):
        BatchOrder(mix, 32, 4, seed=0)
    assert (BatchOrder(mix, 32, 16, seed=0).starts(1)[0] <= 1).all()


def test_another_seed_is_another_order(order: BatchOrder) -> None:
    other = BatchOrder(order.mix, 10, 7, seed=4)
    assert (order.starts(1)[1] != other.starts(1)[1]).any()


def test_too_little_text(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": np.arange(9)}, 512)
    with pytest.raises(UserError, match="not enough text for one sequence of 10"):
        BatchOrder(single(tmp_path), 10, 1, 0)


def test_truncated_shard(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": np.arange(100)}, 512)
    path = tmp_path / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"train-00000.bin has 198 bytes, not 200"):
        TokenShards(tmp_path, "train")


def test_altered_shard(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": np.arange(100)}, 512)
    TokenShards(tmp_path, "train")  # remembers the good checksum …
    path = tmp_path / "train-00000.bin"
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)  # … which must not hide a later change
    with pytest.raises(UserError, match="altered"):
        TokenShards(tmp_path, "train")


def test_too_few_tokens_and_bad_mixes(tmp_path: Path) -> None:
    ladder = ladder_from_config(load_config(["ladder=nano", "ladder.vocab_size=512"]))
    write_shards(tmp_path / "a", {"train": np.arange(50_000) % 512}, 512)
    data = DataSettings(name="a", directory=str(tmp_path / "a"), max_epochs=2)
    with pytest.raises(UserError, match=r"tokenizer.json is missing, checkpoints need it"):
        check_data(data, [ladder.rung("n0-0.5xC")])
    (tmp_path / "a" / "tokenizer").mkdir()
    tokenizer = tmp_path / "a" / "tokenizer" / "tokenizer.json"
    tokenizer.write_text("{}")
    manifest = tmp_path / "a" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"tokenizer_sha256": sha256_of(tokenizer)}))
    check_data(data, [ladder.rung("n0-0.5xC")])
    with pytest.raises(UserError, match=r"50,000 tokens, too few for n0-4xC, which would read them \d+\.\d times"):
        check_data(data, [ladder.rung("n0-4xC"), ladder.rung("n0-0.5xC")])
    write_shards(tmp_path / "b", {"train": np.arange(50_000) % 512}, 512)
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text()) | {"tokenizer_sha256": "other"}
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    mix = {name: Part(directory=str(tmp_path / name), weight=1) for name in "ab"}
    with pytest.raises(UserError, match="different tokenizers"):
        open_data(DataSettings(name="mixed", mix=mix))


def test_another_tokenizer(tmp_path: Path) -> None:
    write_shards(tmp_path, {"train": np.arange(100)}, 512)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="not the tokenizer that made this data"):
        TokenShards(tmp_path, "train")


def test_no_data_and_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no prepared data .*prepare_data.py data=NAME"):
        TokenShards(tmp_path, "train")
    write_shards(tmp_path, {"train": np.arange(100)}, 512)
    with pytest.raises(UserError, match=r'unknown split .* "vall"'):
        TokenShards(tmp_path, "vall")
