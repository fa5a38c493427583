"""Detectors side by side on the same data: ``compare`` trains, tests, measures, and writes one table."""

from ctc_mm.engine.comparison.contestants import Contestant, read_contestants
from ctc_mm.engine.comparison.options import ComparisonOptions
from ctc_mm.engine.comparison.run import ComparisonResult, RunsFailedError, compare

__all__ = [
    "ComparisonOptions",
    "ComparisonResult",
    "Contestant",
    "RunsFailedError",
    "compare",
    "read_contestants",
]
