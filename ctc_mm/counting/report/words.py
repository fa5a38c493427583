"""Numbers and names as a reader of the report sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Longer values are shortened on the page; count.json has them whole.
MOST_CHARS = 300
NOT_KNOWN = "not known"


def number(value: float | None) -> str:
    """A number with as many digits as are worth reading: 0.83, 5.57, 18.4, 123, 12,345."""
    if value is None:
        return NOT_KNOWN
    size = abs(value)
    if size == 0 or (float(value).is_integer() and size < 1e15):
        return f"{int(value):,}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.095 else f"{value:.2g}"


def interval(low: float | None, high: float | None) -> str:
    """An interval: ``6.20 to 21.0``; the upper end may be unbounded."""
    return f"{number(low)} to {'no upper limit' if high is None else number(high)}"


def percent(share: float) -> str:
    """A share in per cent; what is little but not nothing does not become 0, nor nearly all 100."""
    if float(round(100 * share, 6)).is_integer():
        return f"{100 * share:.0f} %"
    if share < 1e-4:
        return "under 0.01 %"
    return "over 99.99 %" if share > 1 - 1e-4 else f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.1f} %"


def plural(count: int, word: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number(count)} {word}{'' if count == 1 else 's'}"


def plain(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def flat_rows(values: Mapping[str, Any], name: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as rows of a table: the path of keys and the value, in order."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        path = f"{name} · {plain(key)}" if name else plain(key)
        if isinstance(value, Mapping) and value:
            rows += flat_rows(value, path)
        else:
            rows.append((path, _value(value)))
    return rows


def _value(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(_value(one) for one in value) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} … (whole in count.json)"
