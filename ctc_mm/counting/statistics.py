"""The statistics of a count, in one place: intervals, blood volume, blanks, spike-ins, correction, sizes. Pure.

Each function's docstring names its source; the tests check every interval's coverage by simulation.
"""

from ctc_mm.counting.blanks import LimitOfBlank, LimitOfDetection, limit_of_blank, limit_of_detection
from ctc_mm.counting.concentration import per_ml
from ctc_mm.counting.correction import FalsePerArea, Rate, corrected_count
from ctc_mm.counting.estimates import Estimate, count_estimate, poisson_interval
from ctc_mm.counting.sizes import size_distribution
from ctc_mm.counting.spike_in import Recovery, known_recovery, recovery_line

__all__ = [
    "Estimate",
    "FalsePerArea",
    "LimitOfBlank",
    "LimitOfDetection",
    "Rate",
    "Recovery",
    "corrected_count",
    "count_estimate",
    "known_recovery",
    "limit_of_blank",
    "limit_of_detection",
    "per_ml",
    "poisson_interval",
    "recovery_line",
    "size_distribution",
]
