"""Files are whole or absent, and what cannot be written is said in one line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ladder.command.running import run_command
from ladder.errors import UserError
from ladder.files.hashing import json_sha256
from ladder.files.reading import read_json
from ladder.files.writing import atomic_directory, atomic_file, files_into, write_json


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
    first = ("", "from ladder.process.cpu import prepare_cpu; prepare_cpu()\n")
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


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (("folder", "is a directory"), ("pipe", "no ordinary file"), ("loop", "a link to itself")):
        with pytest.raises(UserError, match=f"cannot write .*{name}: it is .*{reason.removeprefix('is ')}"):
            write_json(tmp_path / name, {})
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "loop").is_symlink() and (tmp_path / "folder").is_dir()


def test_what_lies_behind_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.json").symlink_to("elsewhere/b.json")
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").is_symlink() and read_json(tmp_path / "elsewhere" / "b.json") == 1


def test_folders_made_for_a_file_go_with_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a" / "b" / "c.json"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "a" / "kept.json", 1)
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a" / "b" / "c.json"):
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept.json"]


def test_files_come_into_a_directory_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files_into(tmp_path / "new") as folder:
        write_json(folder / "a.json", 1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old" / "b.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"old.b\.json: it is a directory"), files_into(tmp_path / "old") as folder:
        write_json(folder / "a.json", 1)
        write_json(folder / "b.json", 1)
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["b.json"]
    with files_into(tmp_path / "new") as folder:
        write_json(folder / "a.json", 2)
    assert read_json(tmp_path / "new" / "a.json") == 2 and len(list(tmp_path.glob("new/*"))) == 1
