"""`keystile keys …`: the whole life of API keys, on the store itself."""

from __future__ import annotations

from keystile.cli.keys import lives, publics, stops, views
from keystile.cli.keys.arguments import app

__all__ = ["app", "lives", "publics", "stops", "views"]
