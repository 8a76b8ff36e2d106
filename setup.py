"""Lets `pip install -e .` work and refuses to build a wheel (everything else is in pyproject.toml)."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class RefuseWheel(bdist_wheel):
    def run(self) -> None:
        raise SystemExit(
            "model-ladder is an application that runs from its checkout: use `pip install -e .` in an environment of "
            "its own. A wheel would install a package named `evaluate` over Hugging Face's, on which lm-eval depends."
        )


setup(cmdclass={"bdist_wheel": RefuseWheel})
