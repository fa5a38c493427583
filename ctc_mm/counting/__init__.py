"""Counting CTCs on slides: reading, routes, merging, statistics, count card, report."""

from __future__ import annotations

from typing import Any

__all__ = ["OutputOptions", "RouteSpec", "RunResult", "count_slides", "find_slides"]

_PLACES = {
    "OutputOptions": "outputs",
    "RouteSpec": "route",
    "RunResult": "run",
    "count_slides": "run",
    "find_slides": "slide_list",
}


def __getattr__(name: str) -> Any:
    """Import what a run needs when it is first asked for, so that the package stays light."""
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
