"""`python -m ladder new NAME`: commented files for a ladder of one's own, on one's own text and task."""

from __future__ import annotations

from pathlib import Path

from ladder.config.config_files import options
from ladder.errors import UserError
from ladder.files.bind import Name, bind
from ladder.files.reading import parse_yaml
from ladder.files.writing import write_text

LADDER = """\
# The sizes and budgets that are trained. What is not said here stands in configs/model_ladder_defaults.yaml and
# configs/recipe/paper.yaml of the project. `python -m ladder plan ladder={name}` shows what follows from it.
name: {name}
data: {name} # configs/data/{name}.yaml
suite: {name} # configs/suite/{name}.yaml; or olmes, the paper's eight benchmarks
vocab_size: 2048 # at least as large as the tokenizer's
# target: s4-4xC # what is predicted: a run of this ladder's sizes, or a file of configs/target/ with its name, n and d;
#                  without one, ten times the compute of the largest rung

sizes: # these four train on a laptop in minutes; the paper's are in configs/ladder/olmo2.yaml
  s0: {{d_model: 8, n_layers: 1, n_heads: 1, ffn_hidden: 24}}
  s1: {{d_model: 12, n_layers: 2, n_heads: 1, ffn_hidden: 32}}
  s2: {{d_model: 16, n_layers: 2, n_heads: 1, ffn_hidden: 48}}
  s3: {{d_model: 24, n_layers: 2, n_heads: 2, ffn_hidden: 64}}

multiples: [0.5, 1, 2, 4] # of 20 tokens per parameter

larger_sizes: # not trained with the ladder: for targets, and for `python -m train ladder={name} rung=s4-4xC`
  s4: {{d_model: 48, n_layers: 2, n_heads: 3, ffn_hidden: 128}}

recipe: # what such small models need otherwise than the paper's
  sequence_length: 128
  peak_lr_divisor: 2
  batch_multiple_of: 1
  floor_steps: 0
  checkpoint_min_steps: 0
  checkpoint_steps_per_multiple: 100
  rope_theta: 10000

fit: # few checkpoints, and the learning rate falls between them: no average over them
  final_checkpoints: 1
  window: 1
"""

DATA = """\
# The text that is trained on. `python scripts/prepare_data.py data={name}` makes token files of it.
name: {name}
directory: data/{name} # where those go
source:
  dataset: {{path: json, data_files: "texts/{name}/*.jsonl"}} # "text" in each line; or path: text, parquet
heldout_every: 20 # every 20th document is kept for the language-model loss
max_epochs: 5 # a run that would read the text more often is refused
tokenizer:
  train_bpe: 2048 # a byte-level BPE of this size, trained on the text; or {{file: tokenizer.json, eos: …, pad: …}}
"""

SUITE = """\
# What is measured on every checkpoint. A line of a task's file:
#   {{"context": "The cat sees us and it", "choices": [" meows.", " barks."], "gold": 0}}
# Texts are scored as they stand: a choice begins with the space that parts it from its context.
name: {name}
tasks:
  quiz: {{rc: tasks/{name}.jsonl, split: test, primary: acc_per_byte}} # rc: ranked by the text; mc: by its letter
lm_loss:
  heldout: {{shards: "${{data.directory}}", split: val, tokens: 4096}} # at most as many as are held out
"""


def new_ladder(name: str) -> str:
    """Writes the three files into `configs/` of the current directory, and says what to do next.

    Raises:
        UserError: no name of a file, or a ladder, data or suite of that name is there already.
    """
    bind(Name, name, "python -m ladder new")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise UserError(f'python -m ladder new "{name}": letters, digits, dots, - and _ only')
    if parse_yaml(name, "the name") != name:
        raise UserError(f'python -m ladder new "{name}": YAML reads no text there; choose a name such as ladder-{name}')
    files = {Path("configs", group, f"{name}.yaml"): text for group, text in _TEMPLATES.items()}
    for path in files:
        if name in options(path.parent.name) or path.exists():
            raise UserError(f"{path.parent.name}={name} is there already; choose another name")
    for path, text in files.items():
        write_text(path, text.format(name=name))
    return (
        f"wrote {', '.join(map(str, files))}\n"
        f"put your text into texts/{name}/*.jsonl and your task into tasks/{name}.jsonl (or change the paths), then:\n"
        f"  python scripts/prepare_data.py ladder={name}\n"
        f"  python -m ladder plan ladder={name}"
    )


_TEMPLATES = {"ladder": LADDER, "data": DATA, "suite": SUITE}
