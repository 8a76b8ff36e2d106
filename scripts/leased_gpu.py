"""A ladder on a leased machine: one without a network or this project's packages, which may go away at any time.

    python scripts/leased_gpu.py pack --python 3.12 ladder=micro # here: leased/bundle.tar.xz
    python scripts/leased_gpu.py run --seconds 540 ladder=micro  # there, as often as it takes: leased/results.tar.xz
    python scripts/leased_gpu.py unpack leased/results.tar.xz    # here: runs/micro/…, without weights

`pack` takes the prepared data, the suite's plans (so that no benchmark file is needed there), the packages that
PyTorch's images lack (`pack --packages`: those alone), and what is known of finished runs. `run` is `python -m ladder
run` within a time limit: trainings save and go on with the next call while the machine stays; on another machine
finished runs are not repeated. Words after the options are the configuration's, the same for `pack` and `run`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ladder.command.running import Parser, run_command
from ladder.errors import UserError
from ladder.files.wheels import cache_directory
from ladder.files.writing import atomic_file

ROOT = Path(__file__).resolve().parent.parent
BUNDLE, RESULTS = ROOT / "leased" / "bundle.tar.xz", ROOT / "leased" / "results.tar.xz"
SITE, CACHE = ROOT / "leased" / "site", ROOT / "leased" / "cache"
PACKAGES = (
    *("hydra-core", "omegaconf", "antlr4-python3-runtime", "submitit"),
    *("pydantic", "annotated-types", "typing-inspection", "typing-extensions"),
)
COMPILED = "pydantic-core"  # the one that is of one Python alone
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
WEIGHTS = ("checkpoints", "resume", "branches")  # parts of a run that stay where they are
SAVING_SECONDS = 60  # of the time limit, for trainings to save and results to be packed


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python scripts/leased_gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    bundle = stages.add_parser("pack", help="here: write the bundle")
    bundle.add_argument("--python", default=HERE, help=f"the Python that is there (default: {HERE}, as here)")
    bundle.add_argument("--packages", action="store_true", help="only packages: no data, plans or runs")
    there = stages.add_parser("run", help="there: train and measure within the time limit")
    there.add_argument(
        "--seconds", type=float, default=540, help=f"time limit of this call, {SAVING_SECONDS} of them to save"
    )
    there.add_argument("--output", type=Path, default=RESULTS, help="where the measurements go")
    here = stages.add_parser("unpack", help="here: put measurements into runs/")
    here.add_argument("results", type=Path)
    options, words = parser.parse_known_args(argv)
    if options.stage == "unpack":
        if words:
            raise UserError(f'"{words[0]}": unpack takes one file and nothing else')
        return unpack(options.results)
    started = time.monotonic()
    if options.stage == "run":
        open_bundle()
    from ladder.command.arguments import split_overrides

    words = split_overrides(words)
    if options.stage == "pack":
        return pack(words, options.python, options.packages)
    return run(words, started + options.seconds - SAVING_SECONDS, options.output)


def pack(words: Sequence[str], python: str, packages_alone: bool) -> int:
    with atomic_file(BUNDLE) as temporary, tarfile.open(temporary, "w:xz") as archive:
        if not packages_alone:
            add_ladder(archive, words)
        add_packages(archive, python)
    print(f"{BUNDLE}: {BUNDLE.stat().st_size / 2**20:.1f} MiB")
    return 0


def add_packages(archive: tarfile.TarFile, python: str) -> None:
    """Those of this environment. Raises UserError where the compiled one cannot be had for that Python."""
    for package in (*PACKAGES, *([COMPILED] if python == HERE else [])):
        for file in importlib.metadata.files(package) or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                archive.add(str(file.locate()), _inside(SITE / file))
    if python == HERE:
        return
    with tempfile.TemporaryDirectory() as scratch:
        wanted = f"{COMPILED}=={importlib.metadata.version(COMPILED)}"
        kind = ["--only-binary=:all:", f"--python-version={python}", "--platform=manylinux2014_x86_64"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *kind, f"--target={scratch}", wanted]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
            raise UserError(f"cannot get {wanted} for Python {python}: {reason}; connect to a package index")
        for path in sorted(Path(scratch).iterdir()):
            archive.add(path, _inside(SITE / path.name))


def add_ladder(archive: tarfile.TarFile, words: Sequence[str]) -> None:
    """Prepared data, plans, and what is known of finished runs."""
    from evaluate.evaluator import Evaluator, make_job
    from evaluate.tasks.suite import make_suite
    from evaluate.tokens.tokenizer import Encoder, load_tokenizer
    from ladder.config.config import ladder_from_config, load_config
    from ladder.config.data import open_data

    config = load_config(list(words))
    ladder, mix = ladder_from_config(config), open_data(config.data)
    job = make_job(
        make_suite(config.suite),
        Encoder(load_tokenizer(mix.tokenizer_directory, ladder.rungs[0].shape.vocab_size)),
        ladder.recipe.sequence_length,
        ladder.rungs[0].shape.vocab_size,
    )
    for task in job.suite.tasks:
        Evaluator().plan(task, job, tries=True)
    for shards in mix.sources:
        archive.add(shards.directory, _inside(shards.directory))
    for task in job.suite.tasks:
        name = f"plans/{job.plans[task.key]}-tries.npz"
        archive.add(cache_directory() / name, _inside(CACHE / name))
    add_runs(archive, config.directory)


def _inside(path: Path) -> str:
    """The path from the project's directory, in which it has to lie to be found there too."""
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        raise UserError(f"{path} lies outside {ROOT}; prepare the data in data/ and keep runs in runs/") from None


def open_bundle() -> None:
    """Puts everything in its place that is not there yet; what runs have done since then stays.

    Raises:
        UserError: there is no bundle, or it is broken.
    """
    if not SITE.is_dir():
        try:
            with tarfile.open(BUNDLE) as archive:
                missing = (member for member in archive if not (ROOT / member.name).is_file())
                archive.extractall(ROOT, members=missing, filter="data")
        except (OSError, tarfile.TarError, EOFError, lzma.LZMAError) as error:
            raise UserError(f"{BUNDLE} cannot be unpacked: {error}; make it with pack and bring it here") from None
    sys.path.insert(0, str(SITE))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(SITE), *os.environ.get("PYTHONPATH", "").split(":")])
    os.environ["MODEL_LADDER_CACHE"] = str(CACHE)


def run(words: Sequence[str], deadline: float, output: Path) -> int:
    """`python -m ladder run`, interrupted at the deadline so that trainings save; then the results."""
    from ladder.config.config import load_config

    launcher = subprocess.Popen([sys.executable, "-m", "ladder", "run", *words])
    try:
        code = launcher.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print("the time is up: trainings save, and go on with the next call", flush=True)
        launcher.send_signal(signal.SIGTERM)
        code = launcher.wait()
    with atomic_file(output) as temporary, tarfile.open(temporary, "w:xz") as archive:
        names = add_runs(archive, load_config(list(words)).directory)
    print(f"{output}: {output.stat().st_size / 2**20:.1f} MiB; finished: {', '.join(names) or 'none'}")
    return code


def add_runs(archive: tarfile.TarFile, directory: Path) -> list[str]:
    """Everything but weights and single likelihoods of the finished runs; their names."""
    from ladder.runs.history import finished
    from ladder.runs.rundir import find_runs

    names = []
    for run in find_runs(directory) if directory.is_dir() else []:
        if finished(run, run.record().total_steps):
            names.append(run.name)
            for path in sorted(run.path.rglob("*")):
                part = path.relative_to(run.path)
                if path.is_file() and part.parts[0] not in WEIGHTS and path.suffix != ".npz":
                    archive.add(path, _inside(path))
    return names


def unpack(results: Path) -> int:
    """Runs that are not here yet; each appears whole or not at all."""
    try:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".unpacking-") as scratch, tarfile.open(results) as archive:
            archive.extractall(scratch, filter="data")
            for info in sorted(Path(scratch).rglob("run.json")):
                place = ROOT / info.parent.relative_to(scratch)
                if place.exists():
                    print(f"{place.relative_to(ROOT)} is here already")
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                info.parent.rename(place)
                print(f"{place.relative_to(ROOT)} unpacked")
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{results} cannot be unpacked: {error}") from None
    return 0


if __name__ == "__main__":
    run_command(main)
