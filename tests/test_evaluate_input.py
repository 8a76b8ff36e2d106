"""What the command refuses in one line, and what it warns of."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import run_module
from evaluate_models import tiny_model
from evaluated_run import evaluate

from evaluate.__main__ import main
from evaluate.models.checkpoint import find_checkpoints
from ladder.errors import UserError
from ladder.runs.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("private_cache")


def test_bad_documents_are_named_before_a_model_is_read(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluate.resident.load_model", lambda *args, **kwargs: pytest.fail("it was read"))
    (tmp_path / "data" / "names.jsonl").write_text('{"context": "Q", "choices": [" a"], "gold": 0}\n')
    with pytest.raises(UserError, match=r"^document \S*names\.jsonl, line 1: needs at least two"):
        main([str(run.checkpoint(10))])


def test_inputs_longer_than_the_context_are_warned_of(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"context": "Q: which?" + " the dog" * 200, "choices": [" a", " b" * 300], "gold": 0}
    (tmp_path / "data" / "names.jsonl").write_text(f"{json.dumps(row)}\n")
    main([str(run.checkpoint(10))])
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "lose their beginning" in line]
    assert warning.startswith("inputs longer than 256 tokens lose their beginning: names.rc (2); answers longer by")


def test_other_tokens_than_the_harness_takes_are_warned_of(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "names.jsonl").write_text('{"context": "Q: ", "choices": ["a", "b"], "gold": 0}\n')
    main([str(run.checkpoint(10))])
    warnings = [line for line in capsys.readouterr().err.splitlines() if "lm-evaluation-harness" in line]
    assert len(warnings) == 1 and "takes other tokens for choices of names.rc (2): a context ends in" in warnings[0]


@pytest.mark.parametrize(("glued", "said"), [(2, 1), (1, 0)])
def test_choices_without_the_space_before_them_are_warned_of(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], glued: int, said: int
) -> None:
    lines = [
        '{"context": "The cat sees us and it", "choices": ["meows.", "barks."], "gold": 0}\n',
        '{"context": "The cat sees us and it", "choices": [" meows.", " barks."], "gold": 0}\n',
    ]
    (tmp_path / "data" / "names.jsonl").write_text(lines[0] * glued + lines[1])
    main([str(run.checkpoint(10))])
    warnings = [line for line in capsys.readouterr().err.splitlines() if "without a space" in line]
    assert len(warnings) == said and all(line.startswith("names.rc: most choices") for line in warnings)


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    done = run_module("-m", "evaluate", str(tmp_path / "none"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "does not exist" in done.stderr
    done = run_module("-m", "evaluate", str(tmp_path), "--tasks")
    assert done.returncode == 2 and "expected one argument" in done.stderr


def test_bad_checkpoints_are_named(run: RunDirectory) -> None:
    def error(*words: object) -> str:
        with pytest.raises(UserError) as caught:
            main([*map(str, words)])
        assert not run.metrics_file(10).exists() and not list(run.path.rglob(".tmp-*"))
        return str(caught.value)

    path = run.checkpoint(10)
    assert 'unknown task of suite tiny "pest"; did you mean "pets"' in error(path, "--tasks", "pest")
    assert 'unknown suite "nanoo"; did you mean "nano"' in error(path, "suite=nanoo")
    assert "mine.yaml does not exist" in error(path, f"suite={run.path / 'mine.yaml'}")
    assert 'suite tiny: unknown key "max_len"; did you mean "max_length"' in error(path, "suite.max_len=9")
    assert "is not a checkpoint" in error(run.path.parent.parent / "data")
    assert "unknown run of" in error(run.path.parent, "--runs", "n9-1xC")
    assert "holds checkpoints; leave that option out" in error(path.parent, "--runs", run.name)
    assert "--runs chooses runs of a ladder" in error(path, "--runs", run.name)
    assert "--watch follows runs of a ladder" in error(path, "--watch")
    assert "--patience ends --watch" in error(path, "--patience", 1)
    assert "is a file; give the directory" in error(run.run_file)
    assert f"cannot write {run.run_file}/out/n1" in error(path, "--output", run.run_file / "out")
    only = ("--tasks", "text", "--output", run.path / "new", "suite.max_length=1")
    assert "lm_loss text: sequences of 1 tokens leave none to predict" in error(path, *only)
    assert '"" must name a directory' in error(path, "--output", "")
    assert 'run.json" must name a directory' in error(path, "--output", run.run_file)
    assert 'unknown suite ""' in error(path, "suite=")
    assert "gone.jsonl does not exist" in error(
        path, "--output", run.path / "new" / "out", "suite.tasks.names.rc=gone.jsonl"
    )
    assert not (run.path / "new").exists()
    assert find_checkpoints(run.path.parent, [run.name, "n9-1xC"])  # a launcher names runs that may not have begun
    good = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(good[:-100])
    assert "truncated" in error(path)
    (path / "model.safetensors").write_bytes(b"\x05")
    assert "not a safetensors file" in error(path)
    tiny_model(hidden_size=48).save_pretrained(run.path / "other")
    shutil.copy(run.path / "other" / "model.safetensors", path)
    assert "model.safetensors: lm_head.weight has the shape [400, 48], config.json asks for [400, 32]" in error(path)
    (path / "model.safetensors").unlink()
    assert "no weights" in error(path)
    torch.save(tiny_model(seed=10).state_dict(), path / "pytorch_model.bin")
    assert "--allow-pickle" in error(path)
    (path / "pytorch_model.bin").unlink()
    broken = tiny_model()
    broken.lm_head.weight.data.fill_(float("nan"))
    broken.save_pretrained(path)
    assert "not finite" in error(path) and str(path) in error(path)
    tiny_model(vocab_size=300).save_pretrained(path)
    assert "tokenizer" in error(path, "--tasks", "names")
    (path / "tokenizer.json").unlink()
    (path / "tokenizer_config.json").unlink()
    assert "has no tokenizer" in error(path)


def test_a_terminal_is_left_as_it_was(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars hide its cursor."""
    config = run.checkpoint(10) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 3}))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(UserError, match="tensors are absent"):
        main([str(run.checkpoint(10))])
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") > 0


def test_formats_of_other_programs_are_one_line(run: RunDirectory, tmp_path: Path) -> None:
    def error(path: Path, *words: str) -> str:
        with pytest.raises(UserError) as caught:
            main([str(path), *words])
        return str(caught.value)

    gguf = tmp_path / "ggufs" / "model.Q4_K_M.gguf"
    gguf.parent.mkdir()
    gguf.write_bytes(b"GGUF")
    assert "model.Q4_K_M.gguf is llama.cpp's format (GGUF); give the Hugging Face directory" in error(gguf)
    assert "ggufs holds GGUF files" in error(gguf.parent) and "ggufs holds GGUF files" in error(gguf.parent, "--watch")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    assert "adapter is an adapter of owner/base, not a model; merge it" in error(adapter)
    config = json.loads((run.checkpoint(10) / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (run.checkpoint(10) / "config.json").write_text(json.dumps(config))
    refused = error(run.checkpoint(10))
    assert "its weights are quantised (gptq) and cannot be loaded" in refused and "measure the original ones" in refused


def test_a_chat_template_is_said_not_to_be_used(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (run.checkpoint(10) / "chat_template.jinja").write_text("{{ messages }}")
    assert main([str(run.path), "--tasks", "names"]) == 0
    said = capsys.readouterr().err
    assert said.count("its tokenizer has a chat template, which is not used") == 1  # of one of the two checkpoints


def test_pickles_when_asked(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (expected,) = evaluate(capsys, run.checkpoint(10))
    path = run.checkpoint(10)
    torch.save(tiny_model(seed=10).state_dict(), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    (metrics,) = evaluate(capsys, path, "--allow-pickle")
    assert metrics["results"] == expected["results"]
