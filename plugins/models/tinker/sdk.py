"""The SDK, without its types: checking them must not need it installed, which is an extra's."""

import importlib
from typing import Any

tinker: Any = importlib.import_module("tinker")
types: Any = importlib.import_module("tinker.types")
