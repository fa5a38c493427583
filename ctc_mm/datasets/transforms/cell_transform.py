"""What the random changes of cell images share: their seed, the pixels they take, and how they are written down."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from ctc_mm.datasets.transforms.pipeline_image import require_0_to_255

Range = tuple[float, float]


class CellTransform(BaseTransform):
    """Base of a random change of ``results['img']`` that leaves the label as it is.

    Each call draws one number from NumPy's global random state, which MMEngine seeds in every worker; all else follows
    from it. ``mmcv.transforms.utils.cache_random_params`` repeats the call to the pixel.

    Args:
        prob: chance that an image is changed at all; 0 or None switches the transform off.
    """

    def __init__(self, prob: float | None = 1.0) -> None:
        self.prob = check_probability(f"{type(self).__name__}: prob", prob)

    @cache_randomness
    def _draw_seed(self) -> int:
        return int(np.random.randint(2**32, dtype=np.uint32))  # noqa: NPY002  # the state that MMEngine seeds

    def transform(self, results: dict) -> dict:
        """Change the image of ``results``, or by chance not."""
        image = require_0_to_255(results, type(self).__name__).astype(np.float32, copy=False)
        rng = np.random.default_rng(self._draw_seed())
        if rng.random() < self.prob:
            image = np.clip(self.change(image, rng, results), 0, 255)
        results["img"] = image
        return results

    @abstractmethod
    def change(self, image: np.ndarray, rng: np.random.Generator, results: dict) -> np.ndarray:
        """Return the changed image, float32 of the same shape; it may leave 0-255, and is clipped afterwards."""

    def __repr__(self) -> str:
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def check_probability(name: str, value: float | None) -> float:
    """A probability as a float; None is 0.

    Raises:
        ValueError: not a number from 0 to 1.
    """
    if value is None:
        return 0.0
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, or None (off); received {value!r}")
    return float(value)


def check_largest(name: str, value: float | None, below: float = math.inf) -> float:
    """A largest amount as a float; None is 0.

    Raises:
        ValueError: not a number from 0 to under ``below``.
    """
    if value is None:
        return 0.0
    if not _is_number(value) or not 0 <= value < below:
        raise ValueError(f"{name} must be from 0 to under {below:g}, or None (off); received {value!r}")
    return float(value)


def check_range(name: str, value: Range | None, *, above_zero: bool = False) -> Range | None:
    """Two rising numbers as floats; None stays None.

    Raises:
        ValueError: anything else, negative numbers, or 0 with ``above_zero``.
    """
    if value is None:
        return None
    rule = "above 0" if above_zero else "of at least 0"
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(_is_number(one) for one in value)
    if not is_pair or not 0 <= value[0] <= value[1] or (above_zero and value[0] == 0):
        raise ValueError(f"{name} must be two rising numbers {rule}, or None (off); received {value!r}")
    return float(value[0]), float(value[1])


def check_choice(name: str, value: str, choices: Mapping[str, Any] | tuple[str, ...]) -> str:
    """One of several words.

    Raises:
        ValueError: none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; received {value!r}")
    return value


def draw_log_uniform(bounds: Range, rng: np.random.Generator) -> float:
    """A factor between two, its logarithm uniform, so that halving is as likely as doubling."""
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def channel_views(image: np.ndarray, per_channel: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Number and view of each channel, or of the whole image where all channels share what is drawn."""
    if per_channel and image.ndim == 3:
        yield from ((index, image[..., index]) for index in range(image.shape[2]))
    else:
        yield 0, image


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
