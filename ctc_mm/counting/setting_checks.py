"""Checks that the settings of all routes share."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from ctc_mm.errors import ConfigError


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_size(value: Any) -> bool:
    """Whether a value is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_names(route: str, values: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse settings that a route does not take; None stands for what was not given.

    Raises:
        ConfigError: unknown settings; all are named, and those that it takes.
    """
    unknown = sorted(name for name in set(values) - set(known) if values[name] is not None)
    if unknown:
        raise ConfigError(f"route {route} takes no setting {', '.join(unknown)}; it takes {', '.join(sorted(known))}")


def own_settings(route: str, kind: type, values: Mapping[str, Any], others: type) -> dict[str, Any]:
    """Those settings of a ``RouteSpec`` that are fields of ``kind``; fields of ``others`` may stand beside them.

    Raises:
        ConfigError: a setting that is neither.
    """
    names = {one.name for one in fields(kind)}
    check_names(route, values, names | {one.name for one in fields(others)})
    return {name: value for name, value in values.items() if name in names and value is not None}
