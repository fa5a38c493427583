"""Probabilities of single-cell images by a classifier, in batches that are filled across tiles and slides."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from scipy.special import expit, logit

from ctc_mm.counting.engines.base import ClassifierEngine, ModelInfo

T = TypeVar("T")
# Nearer to 0 and 1 the log-odds of a float32 probability say nothing.
_TINY = 1e-7


def score_in_batches(
    items: Iterable[tuple[T, Sequence[np.ndarray]]], engine: ClassifierEngine
) -> Iterator[tuple[T, np.ndarray]]:
    """Give each item with the probabilities of the classes for each of its images, in order.

    Args:
        items: with prepared images, float32 (C, H, W) each; taken until a batch is full.
        engine: judges them. Its batches are filled up to one size, so company does not change a score.

    Returns:
        Each item with float32 (N, classes), before calibration.
    """
    waiting: deque[tuple[T, int]] = deque()
    images: deque[np.ndarray] = deque()
    scores: list[np.ndarray] = [np.zeros((0, len(engine.info.classes)), np.float32)]
    for item, given in items:
        waiting.append((item, len(given)))
        images.extend(given)
        while len(images) >= engine.batch_size:
            scores.append(_judge_next(images, engine))
        yield from _finished(waiting, scores)
    while images:
        scores.append(_judge_next(images, engine))
    yield from _finished(waiting, scores)


def calibrated(scores: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Scores as probabilities: log-odds over the temperature that validation found, float64 (N,).

    Source: Guo et al., ICML 2017, section 4.2. Without a temperature they stay as they are.
    """
    scores = np.asarray(scores, np.float64)
    if info.temperature is None:
        return scores
    return expit(logit(np.clip(scores, _TINY, 1 - _TINY)) / info.temperature)


def _judge_next(images: deque[np.ndarray], engine: ClassifierEngine) -> np.ndarray:
    """Probabilities for the next images of one shape, at most a batch of them."""
    batch = [images.popleft()]
    while images and len(batch) < engine.batch_size and images[0].shape == batch[0].shape:
        batch.append(images.popleft())
    return engine(np.stack(batch))


def _finished(waiting: deque[tuple[T, int]], scores: list[np.ndarray]) -> Iterator[tuple[T, np.ndarray]]:
    """Take from both what is complete."""
    known = np.concatenate(scores)
    while waiting and waiting[0][1] <= len(known):
        item, count = waiting.popleft()
        yield item, known[:count]
        known = known[count:]
    scores[:] = [known]
