"""Files are whole or absent, and what cannot be written is said in one line."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ladder.errors import UserError, run_command
from ladder.hashing import json_sha256
from ladder.reading import read_json
from ladder.writing import atomic_directory, atomic_file, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"new": float("nan")})
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_directory_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "d"
    for content in ("old", "new"):
        with atomic_directory(path) as temporary:
            (temporary / "f").write_text(content)
        assert (path / "f").read_text() == content
    with pytest.raises(RuntimeError), atomic_directory(path) as temporary:
        (temporary / "f").write_text("half")
        raise RuntimeError
    assert (path / "f").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("write", [atomic_file, atomic_directory])
def test_a_place_that_cannot_be_written(tmp_path: Path, write) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .* choose another directory"), write(tmp_path / "file" / "x"):
        pass


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json does not exist"):
        read_json(tmp_path / "b.json")


def test_hash_does_not_depend_on_key_order() -> None:
    assert json_sha256({"a": 1, "b": 2}) == json_sha256({"b": 2, "a": 1}) != json_sha256({"a": 2, "b": 1})


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is tuned on glibc only")
def test_freed_memory_stays_with_a_prepared_process() -> None:
    code = (
        "import resource, numpy as np\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "step = lambda: (np.ones(2**18), np.ones(2**18))\n"
        "step(); before = faults()\n"
        "for _ in range(50): step()\n"
        "print(faults() - before)"
    )
    first = ("", "from ladder.cpu import prepare_cpu; prepare_cpu()\n")
    runs = [subprocess.run([sys.executable, "-c", f + code], capture_output=True, text=True, check=True) for f in first]
    plain, prepared = (int(run.stdout) for run in runs)
    assert prepared < 2_000 < plain  # 2 MiB are 512 pages of 4 KiB


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no answer\nfrom the hub"), "error: no answer from the hub"),
        (
            FileNotFoundError(2, "No such file", "a.csv"),
            "error: a.csv: No such file; check that it is there and may be",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> int:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.startswith(line) and printed.count("\n") == 1
