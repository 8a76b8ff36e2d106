"""Builds the wheel; everything else is in pyproject.toml.

`evaluate` is also Hugging Face's package, on which lm-eval depends, and `train`, `predict` and `ladder` are names that
anybody's project may have. So a wheel installs none of them: the four packages and `configs/` lie in the folder
`model_ladder/_packages`, their imports of each other are rewritten to where they are there (as pip does with what it
vendors), and what they tell the user to run is the command `model-ladder`. No search path, import hook or environment
variable is needed at run time, in the processes that a ladder starts on a cluster neither.

An editable install (`pip install -e .`, which make does) is the checkout as it is.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGES = ("ladder", "train", "evaluate", "predict")
PRIVATE = "model_ladder._packages"

_NAMES = "|".join((*PACKAGES, "preparing"))
REWRITTEN = (
    (re.compile(rf"^(\s*(?:>>> )?from )((?:{_NAMES})(?:\.\w+)* import )", re.MULTILINE), rf"\1{PRIVATE}.\2"),
    (re.compile(rf"python -m ((?:{_NAMES})(?:\.\w+)+)"), rf"python -m {PRIVATE}.\1"),
    (re.compile(rf"python -m ({_NAMES})\b"), r"model-ladder \1"),
    (re.compile(r"python scripts/prepare_data\.py"), "model-ladder prepare"),
)


class BuildPrivate(build_py):
    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        built = Path(self.build_lib) / "model_ladder"
        shutil.rmtree(built, ignore_errors=True)  # what an earlier build left
        super().run()
        private = built / "_packages"
        for name in (*PACKAGES, "configs"):
            shutil.copytree(name, private / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("scripts/prepare_data.py", private)
        shutil.copytree("scripts/preparing", private / "preparing", ignore=shutil.ignore_patterns("__pycache__"))
        (private / "__init__.py").write_text('"""The packages of the checkout; see setup.py there."""\n')
        for path in built.rglob("*"):
            if path.suffix in (".py", ".yaml"):
                path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str) -> str:
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    return text


setup(cmdclass={"build_py": BuildPrivate})
