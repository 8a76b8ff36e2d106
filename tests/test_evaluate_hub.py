"""A model of the Hugging Face hub by name and revision, from a small server in the hub's place; one line without it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from evaluate_models import documents, tiny_model, write_checkpoint, write_jsonl
from omegaconf import OmegaConf

from evaluate.__main__ import main
from ladder.errors import UserError

REVISIONS = {"main": "a" * 40, "step1000": "b" * 40}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves me/tiny, whose revisions have different weights; the paths that were asked for."""
    places = {}
    for number, (revision, commit) in enumerate(REVISIONS.items()):
        places[revision] = places[commit] = write_checkpoint(tmp_path / "hub" / commit, tiny_model(seed=number))
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"] and parts[2:4] == ["me", "tiny"]:
                revision = parts[5] if len(parts) > 5 else "main"
                if revision in places:
                    files = [(path.name, path.stat().st_size) for path in places[revision].iterdir()]
                    tree = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in files]
                    model = {"id": "me/tiny", "sha": places[revision].name}
                    model["siblings"] = [{"rfilename": name} for name, _ in files]
                    return self.answer(json.dumps(tree if parts[4] == "tree" else model))
                return self.answer("{}", 404, {"X-Error-Code": "RevisionNotFound"})
            if parts[:3] == ["me", "tiny", "resolve"]:
                content = (places[parts[3]] / parts[4]).read_bytes()
                etag = hashlib.sha256(content).hexdigest()
                return self.answer(content, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": places[parts[3]].name})
            return self.answer("{}", 404, {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def answer(self, body: str | bytes, code: int = 200, headers: dict[str, str] | None = None) -> None:
            content = body.encode() if isinstance(body, str) else body
            self.send_response(code)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    yield asked
    server.shutdown()
    server.server_close()


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE say is read when the client is imported."""
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(cache / "plans"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub._snapshot_download.HfApi", lambda **words: huggingface_hub.HfApi(address))


def test_a_name_and_its_revision(hub: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"name": "mine", "tasks": {"pets": {"rc": str(write_jsonl(tmp_path / "p.jsonl", documents("rc")))}}}
    OmegaConf.save(OmegaConf.create(node), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", f"runs_dir={tmp_path / 'runs'}", "--json"]
    measured = []
    for name in ("me/tiny", "me/tiny@step1000"):
        assert main([name, *words]) == 0
        measured.append(json.loads(capsys.readouterr().out))
    assert measured[0]["results"][0]["bpb"] != measured[1]["results"][0]["bpb"]
    files = sorted(path.stem for path in (tmp_path / "runs" / "evaluated").glob("*.json"))
    assert files == [f"me--tiny_{commit[:12]}" for commit in sorted(REVISIONS.values())]
    assert [(row["run"], row["step"]) for row in measured] == [("me/tiny", 0), ("me/tiny@step1000", 1000)]
    with pytest.raises(UserError, match=r"me/tiny@step9 does not exist here.*no such revision"):
        main(["me/tiny@step9", *words])
    with pytest.raises(UserError, match=r"me/other does not exist here.*no such model"):
        main(["me/other", *words])


def test_several_revisions_in_one_call(hub: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"name": "mine", "tasks": {"pets": {"rc": str(write_jsonl(tmp_path / "p.jsonl", documents("rc")))}}}
    OmegaConf.save(OmegaConf.create(node), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", f"runs_dir={tmp_path / 'runs'}", "--json"]
    assert main(["me/tiny", "--revisions", "step1000,main", *words]) == 0
    measured = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["run"] for row in measured] == ["me/tiny@step1000", "me/tiny"]
    with pytest.raises(UserError, match=r"me/tiny@step9 does not exist here.*no such revision"):
        main(["me/tiny", "--revisions", "main,step9", *words])
    for path in ("me/tiny@main", str(tmp_path)):
        with pytest.raises(UserError, match="--revisions is for a name on the Hugging Face hub such as owner/name"):
            main([path, "--revisions", "main", *words])


def test_pickled_weights_alone_need_leave(hub: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hub" / REVISIONS["main"]
    (path / "model.safetensors").unlink()
    torch.save(tiny_model(seed=0).state_dict(), path / "pytorch_model.bin")
    node = {"name": "mine", "tasks": {"pets": {"rc": str(write_jsonl(tmp_path / "p.jsonl", documents("rc")))}}}
    OmegaConf.save(OmegaConf.create(node), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", f"runs_dir={tmp_path / 'runs'}", "--json"]
    with pytest.raises(UserError, match=r"me/tiny has no weights as safetensors .* add --allow-pickle"):
        main(["me/tiny", *words])
    assert main(["me/tiny", *words, "--allow-pickle"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "me/tiny"


def test_without_the_hub_it_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)  # nobody listens there
    with pytest.raises(UserError, match=r"me/tiny@v1 does not exist here.*the hub cannot be reached") as caught:
        main(["me/tiny@v1"])
    assert len(str(caught.value)) < 300
    with pytest.raises(UserError, match=r"/none does not exist; give a checkpoint"):  # a path is no name
        main([str(tmp_path / "none")])
