"""The command line: what it prints, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from simulated_ladder import rows_of, simulated, write

from ladder.errors import UserError
from predict.__main__ import main
from predict.measured.table import table_of

Command = Callable[..., "CompletedProcess[str]"]


def test_it_predicts_without_measurements_and_says_what_it_uses(command: Command) -> None:
    done = command("-m", "predict", "--target", "13B-5T")
    assert done.returncode == 0, done.stderr
    rows = {line.split("  ")[0]: line for line in reversed(done.stdout.splitlines())}
    assert "51.27" in rows["MMLU"] and "51.61" in rows["MMLU"]
    assert "85.30" in rows["HellaSwag"] and "52.67" in rows["ARC-Challenge"]
    assert "laws that come with the package" in done.stdout and "OLMo-ladder" in done.stdout


def test_it_never_imports_torch_nor_what_laws_do_not_need(command: Command) -> None:
    code = (
        "import sys; from predict.__main__ import main; main(['--target', '7B-4T']); "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy', 'jinja2') if m in sys.modules])"
    )
    done = command("-c", code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_json_has_the_documented_shape(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--target", "7B-4T", "--tasks", "mmlu,boolq", "--method", "paper", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["target"] == "7B-4T" and answer["n"] == 6887575552 and answer["method"] == "paper"
    first = answer["predictions"][0]
    names = ["task", "loss", "accuracy", "low80", "high80", "low95", "high95", "actual", "error_points", "verdict"]
    assert set(names) <= set(first)
    assert first["task"] == "mmlu" and first["accuracy"] == pytest.approx(0.48381, abs=1e-5)
    assert first["error_points"] == pytest.approx(100 * (first["accuracy"] - first["actual"]))
    assert answer["predictions"][1]["task"] == "boolq"


def test_n_and_d_may_be_written_as_7b(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--n", "30B", "--d", "1.5t", "--tasks", "mmlu", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n"], answer["d"]) == (30e9, 1.5e12)


def test_free_targets_and_other_formats(capsys: pytest.CaptureFixture[str]) -> None:
    free = ["--n", "70e9", "--d", "15e12"]
    main([*free, "--json"])
    expected = json.loads(capsys.readouterr().out)
    main([*free, "--csv"])
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["task"] for row in rows] == [p["task"] for p in expected["predictions"]]
    assert float(rows[0]["low80"]) == expected["predictions"][0]["low80"] and rows[0]["actual"] == ""
    assert printed.err.splitlines() == [note["text"] for note in expected["notes"]]
    main(["--target", "7B-4T", "--markdown"])
    assert "| MMLU |" in capsys.readouterr().out


def test_a_measurement_file_is_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.csv", simulated())
    main(["--ladder", str(path), "--n", "7e9", "--d", "2.8e12", "--method", "paper", "--json"])
    (p,) = json.loads(capsys.readouterr().out)["predictions"]
    assert p["task"] == "quiz" and abs(p["error_points"]) < 0.5


@pytest.mark.parametrize(("method", "losses"), [("paper", "rc_bpb"), ("default", "rc_bpb"), ("default", "lm_loss")])
def test_laws_survive_a_round_trip(
    method: str, losses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = simulated()
    path = write(tmp_path / "mine.csv", frame[frame.metric.isin(["rc_acc", losses])])
    ladder = ["--ladder", str(path), "--sizes", "190M,370M,760M,1.3B"]
    target = ["--n", "7.1e9", "--d", "2.9e12", "--method", method, "--json"]
    main([*ladder, *target])
    (fitted,) = json.loads(capsys.readouterr().out)["predictions"]
    main(["fit", *ladder, "--output", str(tmp_path / "laws.json")])
    capsys.readouterr()
    main(["--laws", str(tmp_path / "laws.json"), *target])
    (stored,) = json.loads(capsys.readouterr().out)["predictions"]
    numbers = {key for key, value in fitted.items() if isinstance(value, float)}
    assert numbers >= {"accuracy", "loss"} and stored["loss_of"] == fitted["loss_of"]
    assert {key: stored[key] for key in numbers} == pytest.approx({key: fitted[key] for key in numbers}, rel=1e-9)


def test_laws_of_the_target_itself_are_no_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, laws = write(tmp_path / "mine.csv", simulated()), tmp_path / "laws.json"
    main(["fit", "--ladder", str(path), "--output", str(laws)])
    capsys.readouterr()
    for d, warned in (("2.8e12", True), ("2.8e13", False)):
        main(["--laws", str(laws), "--n", "7e9", "--d", d, "--json"])
        codes = [note["code"] for note in json.loads(capsys.readouterr().out)["notes"]]
        assert ("target-inside" in codes) is warned
    laws.write_text(re.sub(r'"alpha": [0-9.e-]+', '"alpha": NaN', laws.read_text(), count=1))
    with pytest.raises(UserError, match="NaN is no number"):
        main(["--laws", str(laws), "--n", "7e9", "--d", "2.8e13"])


def test_the_report_is_one_file_with_names_escaped(tmp_path: Path) -> None:
    rows = [
        row
        for multiple in (1, 2, 4, 8)
        for size, n in (("<b>a</b>", 1e8), ("c", 2e8))
        for row in rows_of(f"{size}-{multiple}xC", size, n, 20 * n * multiple, task="<script>x</script>")
    ]
    path = write(tmp_path / "mine.csv", table_of(rows, "mine"))
    out = tmp_path / "out"
    main(["report", "--ladder", str(path), "--n", "7e9", "--d", "2.8e12", "--method", "paper", "--output", str(out)])
    page = (out / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b>a</b>" not in page
    assert "http://" not in page and "https://" not in page
    assert {"step1.png", "step2.png", "chained.png"} <= {file.name for file in out.glob("*.png")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "13B-5X"], 'unknown target "13B-5X"; did you mean "13B-5T"'),
        (["--target", "13B-5T", "--tasks", "mmul"], 'did you mean "mmlu"'),
        (["--target", "13B-5T", "--sizes", "190M"], "--ladder"),
        (["--n", "7e9"], "--d"),
        (["--n=-7e9", "--d", "1"], '--n: "-7e9" must be a number from 1'),
        (["--n", "0B", "--d", "1T"], '--n: "0B" must be a number from 1'),
        (["--n", "7X", "--d", "1T"], '--n: "7X" must be a number from 1'),
        (["--n", "--d", "1"], "expected one argument"),
        ([], "which target"),
        (["repotr"], 'did you mean "report"'),
        (["--target", "7B-4T", "--foo"], "--foo"),
        (["--target", "7B-4T", "--method", "paper-c4"], "give --ladder"),
        (["--target", "7B-4T", "--ladder", "nowhere"], "does not exist"),
        (["--target", "7B-4T", "--laws", "configs/model_ladder.yaml"], "not valid JSON"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        main(words)
    assert message in str(caught.value)


def test_bad_ladders_are_refused(tmp_path: Path) -> None:
    target = ["--n", "7e9", "--d", "2.8e12"]
    path = write(tmp_path / "mine.csv", simulated())
    for words, message in [
        (["--sizes", "370"], 'did you mean "370M"'),
        (["--multiples", "3"], 'unknown multiple of'),
        (["--sizes", "370M", "--multiples", "1,2"], "2 rungs to fit (370M-1xC, 370M-2xC)"),
        (["--tasks", "quizz"], 'did you mean "quiz"'),
        (["--method", "papr"], 'did you mean "paper"'),
        (["--method", "paper-c4"], "has no c4_en loss"),
    ]:  # fmt: skip
        with pytest.raises(UserError) as caught:
            main(["--ladder", str(path), *target, *words])
        assert message in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no measurements in"):
        main(["--ladder", str(tmp_path / "empty"), *target])


def test_a_user_error_ends_with_code_2_and_one_line(command: Command) -> None:
    done = command("-m", "predict", "--target", "nope")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
