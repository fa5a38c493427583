"""Fewer cells of the common classes in each epoch, so that the rare one is not drowned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler

from ctc_mm.errors import ConfigError
from ctc_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class DownSampler(Sampler):
    """Draw ``ratio`` samples of other classes for each sample of the target, in random order.

    For the training set only. The imFISH paper reduces 13,472 nuclei that are no CTC to the 694 that are (reading 18).
    Drawn anew for each epoch, so that all of them are seen in time; ``once=True`` keeps the first draw, as in the
    paper. All samples of the target are used; all others have the same chance, of whatever class. All processes of a
    distributed run draw the same and take every n-th of it; the last few are filled up from the start, so that all have
    equally many.

    ::

        train_dataloader = dict(sampler=dict(type='ctc_mm.DownSampler', ratio=1.0), dataset=...)

    Args:
        dataset: any data set of MMEngine whose samples have one class (``get_cat_ids``), wrapped or not.
        ratio: samples of other classes for each of the target; with fewer of them at hand, all are used, and that is
            logged.
        target: number of the class that is used whole.
        once: draw once, not for each epoch.
        shuffle: random order; False: that of the data set.
        seed: of the draw; None: MMEngine's, the same in all processes.
        round_up: fill up, so that all processes have equally many.

    Raises:
        ConfigError: a ratio that is not positive; a data set for testing; samples without one class; no sample of the
            target, or of the others.
    """

    def __init__(
        self,
        dataset: Any,
        ratio: float = 1.0,
        *,
        target: int = 0,
        once: bool = False,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < np.inf:
            raise ConfigError(f"DownSampler: `ratio` must be a number above 0. Received: {ratio!r}")
        if is_for_testing(dataset):
            raise ConfigError(
                "DownSampler: the data set is for testing (test_mode=True), and its results would be those of a "
                "mixture that nobody has; use it in train_dataloader, and DefaultSampler elsewhere."
            )
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.once, self.shuffle, self.round_up, self.epoch = once, shuffle, round_up, 0
        labels = labels_of(dataset)
        self._targets, self._others = np.flatnonzero(labels == target), np.flatnonzero(labels != target)
        if len(self._targets) == 0 or len(self._others) == 0:
            raise ConfigError(
                f"DownSampler: class {target} has {len(self._targets)} samples and the others {len(self._others)}; "
                "both are needed. Check classes, split and label_map of the training set."
            )
        wanted = max(1, round(ratio * len(self._targets)))
        self._drawn = min(wanted, len(self._others))
        self._log(ratio, wanted)

    def _log(self, ratio: float, wanted: int) -> None:
        text = (
            f"DownSampler: {len(self._targets)} samples of the target and {self._drawn} of {len(self._others)} others "
            f"{'(drawn once)' if self.once else '(drawn anew each epoch)'}."
        )
        if self._drawn < wanted:
            text += f" The ratio {ratio:g} cannot be met: it asks for {wanted} others."
        print_log(text, logger="current", level=30 if self._drawn < wanted else 20)

    def indices(self, epoch: int) -> list[int]:
        """Places in the data set of what an epoch uses, of all processes together, in their order."""
        draw = np.random.default_rng([self.seed, 0 if self.once else epoch])
        drawn = draw.choice(self._others, size=self._drawn, replace=False)
        places = np.sort(np.concatenate([self._targets, drawn]))
        if self.shuffle:
            # A stream of its own: with `once` the order still changes with the epoch.
            places = np.random.default_rng([self.seed, epoch, 1]).permutation(places)
        return places.tolist()

    def __iter__(self) -> Iterator[int]:
        """Give this process's places in the data set."""
        places = self.indices(self.epoch)
        if self.round_up:
            total = len(self) * self.world_size
            places = (places * (total // len(places) + 1))[:total]
        return iter(places[self.rank :: self.world_size])

    def __len__(self) -> int:
        """Number of samples that this process draws in an epoch."""
        total = len(self._targets) + self._drawn
        return -(-(total if self.round_up else total - self.rank) // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes: MMEngine's train loop does, on resume too."""
        self.epoch = epoch


def labels_of(dataset: Any) -> np.ndarray:
    """Class number of each sample of a data set, int64 (N,); images are not loaded.

    Raises:
        ConfigError: the data set does not tell classes, or a sample has none or several.
    """
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    labels = np.zeros(len(dataset), np.int64)
    for index in range(len(dataset)):
        found = set(_classes_of(dataset, index))
        if len(found) != 1:
            raise ConfigError(
                f"{type(dataset).__name__}: sample {index} has {len(found)} classes ({sorted(found)}), and exactly one "
                "is needed; samples of several cells cannot be drawn by class."
            )
        labels[index] = found.pop()
    return labels


def _classes_of(dataset: Any, index: int) -> list[int]:
    if hasattr(dataset, "get_cat_ids"):
        return [int(label) for label in dataset.get_cat_ids(index)]
    info = dataset.get_data_info(index) if hasattr(dataset, "get_data_info") else {}  # ConcatDataset, RepeatDataset
    if "gt_label" not in info:
        raise ConfigError(
            f"{type(dataset).__name__} does not tell the classes of its samples (get_cat_ids, or gt_label in "
            "get_data_info); use SingleCellDataset, another data set of MMPretrain, or a wrapper of MMEngine around it."
        )
    return [int(label) for label in np.atleast_1d(info["gt_label"])]


def is_for_testing(dataset: Any) -> bool:
    """Whether a data set, or one that it wraps, is for testing."""
    inner = [getattr(dataset, "dataset", None), *getattr(dataset, "datasets", [])]
    return bool(getattr(dataset, "test_mode", False)) or any(is_for_testing(one) for one in inner if one is not None)
