"""What every written result shares: numbers for JSON and CSV, pictures whose bytes depend on the result alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def json_number(value: float | None) -> float | None:
    """NaN (undefined) becomes null; JSON has no NaN."""
    return None if value is None or math.isnan(value) else float(value)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> str:
    """Write a table; floats by ``repr``, so that they read back bit for bit, NaN (undefined) as an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _csv_cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return str(value)


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make an empty figure of 120 pixels per inch that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure as PNG."""
    buffer = io.BytesIO()
    # matplotlib writes its version by default; without it the bytes depend on the result alone.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
