"""CEP8: how bright a spot has to be to count as a signal, once for a field.

DAPI that bleeds into the CEP8 channel paints the grain of the chromatin there, and with little noise its brightest
grains are spots too, only much fainter than the probe's signals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ctc_mm.imfish.valley import deepest_valley

# A signal has at least this part of the field's usual brightest signal of a nucleus (where no valley says better) ...
PART_OF_BRIGHTEST = 0.25
# ... a valley is between signals and grain only if it lies below this part ...
HIGHEST_VALLEY = 0.5
# ... and a signal stands above its nucleus by this part of the nucleus' own level.
NUCLEUS_CONTRAST = 0.2


def cep8_threshold(heights_by_nucleus: Sequence[Sequence[float]], nucleus_levels: Sequence[float]) -> tuple[float, str]:
    """Height above its nucleus from which a spot is a CEP8 signal.

    Where the spots of the field form two hills on a logarithmic scale, the valley between them; elsewhere a part of the
    median over the nuclei of their brightest spot. Never less than a part of the nuclei's own CEP8 level, so that a
    field whose probe failed has no signals.

    Args:
        heights_by_nucleus: for each nucleus the heights of its spots above it, in grey values.
        nucleus_levels: median CEP8 of each nucleus, in grey values.

    Returns:
        The threshold in grey values, and where it comes from: ``valley``, ``brightest`` or ``nucleus``.
    """
    least = NUCLEUS_CONTRAST * float(np.median(nucleus_levels)) if len(nucleus_levels) else 0.0
    brightest = [max(heights) for heights in heights_by_nucleus if len(heights)]
    usual = float(np.median(brightest)) if brightest else 0.0
    if usual <= 0:
        return least, "nucleus"
    value, source = PART_OF_BRIGHTEST * usual, "brightest"
    heights = np.concatenate([np.asarray(one, np.float64) for one in heights_by_nucleus if len(one)])
    # Far below the signals all are alike.
    valley = deepest_valley(np.log(np.maximum(heights, usual / 50)))
    if valley is not None and math.exp(valley) < HIGHEST_VALLEY * usual:
        value, source = math.exp(valley), "valley"
    return (value, source) if value > least else (least, "nucleus")
