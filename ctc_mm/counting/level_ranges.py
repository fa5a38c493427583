"""Thresholds that differ from place to place of a slide, as the count card tells them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def describe_levels(levels: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Levels of the first pass by their range (``levels``), and a SHA-256 of all their numbers (``levels_sha256``).

    Args:
        levels: of each kind or channel, as JSON values; None where there are none.
    """
    digest = hashlib.sha256(json.dumps(levels, sort_keys=True).encode()).hexdigest()
    ranges = {name: _ranges(values) for name, values in levels.items() if values is not None}
    return {"levels": ranges, "levels_sha256": digest}


def _ranges(levels: Mapping[str, Any]) -> dict[str, Any]:
    """Grids of numbers as their least, median and largest value; the rest as it is."""
    found: dict[str, Any] = {}
    for name, value in levels.items():
        numbers = _flat(value)
        if name == "size_wh" or len(numbers) < 2:
            found[name] = value
        else:
            found[name] = {"min": min(numbers), "median": float(np.median(numbers)), "max": max(numbers)}
    return found


def _flat(value: Any) -> list[float]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [number for one in value for number in _flat(one)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []
