"""The methods: measurements in, fitted laws and predictions out. A new one is a file here and an entry below."""

from __future__ import annotations

from predict.methods.base import Method
from predict.methods.ensemble import Ensemble
from predict.methods.paper import VARIANTS

DEFAULT = "default"
METHODS: dict[str, Method] = {method.name: method for method in (Ensemble(), *VARIANTS)}
