"""Model Ladder in Python: what its command `model-ladder` does for predictions, for notebooks.

    import model_ladder as ml

    ladder = ml.read("runs/mine")                # or a CSV or Parquet file, AI2's folder, or a DataFrame
    found = ml.predict(ladder, n=70e9, d=15e12)  # a DataFrame, a row per task; shows itself as a table
    found.figure()
    ml.backtest(ladder)                          # how well the ladder would have predicted its own top rungs
    ml.compare(ladder, other, n=70e9, d=15e12)   # two ladders, such as two data mixes

Importing an installed `model_ladder` puts no other module into reach and changes none: `import evaluate` is Hugging
Face's before and after, and a `predict.py` of one's own stays one's own (setup.py says how). In a checkout the packages
beside it are imported by their plain names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_ladder.api import Answer, Measured, UserError, backtest, compare, predict, read

__all__ = ["Answer", "Measured", "UserError", "backtest", "compare", "predict", "read"]


def __getattr__(name: str) -> Any:  # on demand, since the command imports this package too and is to start at once
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from model_ladder import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
