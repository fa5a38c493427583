"""Parts of a report: tables and pictures, whatever they show."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctc_mm.evaluation.functional.spread import Spread


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading.

    Attributes:
        title: above it.
        header: of the columns; the first names the rows.
        rows: as many entries as ``header`` each.
        note: below it.
        file: name of a CSV file with the same rows; '' for none.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    file: str = ""

    def csv(self) -> str:
        """The rows as CSV."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
        return buffer.getvalue()


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows.

    Attributes:
        file: its name.
        png: its bytes.
        caption: below it.
    """

    file: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Section:
    """Part of the summary.

    Attributes:
        content: for ``summary.json``.
        tables, pictures: for the report.
        files: further files by name.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def shown(value: float | None, digits: int = 3) -> str:
    """A number for a table, '-' where undefined."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def shown_spread(spread: Spread) -> str:
    """Mean and standard deviation, with the folds where there is none."""
    text = shown(spread.mean) + (f" ± {shown(spread.sd)}" if not math.isnan(spread.sd) else "")
    return text + (f" ({spread.n} of {spread.n + spread.n_undefined})" if spread.n_undefined else "")


def shown_rate(rate: Mapping[str, Any]) -> str:
    """A rate with its counts and interval, as ``binary_intervals.rate_json`` gives it."""
    return f"{shown(rate['value'])} ({rate['k']}/{rate['n']}){shown_interval(rate['interval'])}"


def shown_interval(interval: Sequence[float] | None) -> str:
    """``[low, high]``, or nothing."""
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
