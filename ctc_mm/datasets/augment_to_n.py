"""As many cells of each class as wanted, by changed copies of those there are (reading 24)."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log

from ctc_mm.datasets.samplers.down_sampler import is_for_testing, labels_of
from ctc_mm.errors import ConfigError
from ctc_mm.registry import DATASETS


@DATASETS.register_module()
class AugmentToN:
    """The cells of a data set, and changed copies of them until each class has ``n``.

    Paper label-free-resnet-2020: 1000 + 1000 cells by rotation, shear and reflections; here after the split, of the
    training part alone. The originals come first, in their order and not augmented; then the copies, each original of a
    class having as many as any other, or one more. A class that has ``n`` already, or more, stays whole, without
    copies, and that is logged. ``copy_index`` in a sample's metainfo is 0 for an original, 1 and up for its copies.

    ::

        train_dataset = dict(
            type='ctc_mm.AugmentToN', n=1000, fixed=True,
            dataset=dict(type='ctc_mm.SingleCellDataset', ..., pipeline=[dict(type='ctc_mm.LoadCellImage')]),
            augment=[dict(type='ctc_mm.CellGeometry')],              # copies only
            pipeline=[dict(type='Resize', scale=34), pack_cell])     # originals and copies

    Args:
        dataset: data set for training whose samples have one class; its pipeline loads images and does not pack them.
        n: samples of each class, or of each class by name.
        augment: transforms of the copies.
        pipeline: transforms of originals and copies, up to packing.
        fixed: each copy is the same in every epoch, as in the paper; False: drawn anew each time.
        seed: of the choice of originals with one copy more, and of ``fixed`` copies.
        lazy_init: whether to read the data set later.

    Raises:
        ConfigError: ``n`` is no positive whole number, or names no class; the data set is for testing, or its pipeline
            packs; ``augment`` is empty.
    """

    def __init__(
        self,
        dataset: Any,
        n: int | Mapping[str, int],
        augment: Sequence[Any],
        pipeline: Sequence[Any] = (),
        *,
        fixed: bool = False,
        seed: int = 0,
        lazy_init: bool = False,
    ) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
        if is_for_testing(self.dataset):
            raise ConfigError(
                "AugmentToN: the data set is for testing (test_mode=True); changed copies there would be counted as "
                "cells. Use it in train_dataloader."
            )
        if not augment:
            raise ConfigError("AugmentToN: `augment` names no transform, so the copies would be the originals again.")
        self.n, self.fixed, self.seed, self.test_mode = n, fixed, seed, False
        self.augment, self.pipeline = Compose(augment), Compose(pipeline)
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """That of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the data set and plan the copies."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        labels = labels_of(self.dataset)
        classes = list(self.metainfo.get("classes") or [])
        wanted = self._wanted(classes or [str(label) for label in range(int(labels.max()) + 1)])
        # Place in the data set and number of the copy, of every sample.
        plan = [(index, 0) for index in range(len(labels))]
        texts = []
        for label, (name, number) in enumerate(wanted.items()):
            members = np.flatnonzero(labels == label)
            copies = self._copies(members, number - len(members), label)
            plan += copies
            texts.append(f"{name} {len(members)} + {len(copies)} copies")
            if len(members) == 0 or len(members) > number:
                state = "no cell to copy" if len(members) == 0 else f"more than {number} already; all are kept"
                print_log(f"AugmentToN: class {name} has {state}.", logger="current", level=30)
        self._plan = np.array(plan, np.int64).reshape(-1, 2)
        self._fully_initialized = True
        print_log(f"AugmentToN: {', '.join(texts)}.", logger="current")

    def _wanted(self, classes: list[str]) -> dict[str, int]:
        wanted = dict(self.n) if isinstance(self.n, Mapping) else dict.fromkeys(classes, self.n)
        unknown = sorted(set(wanted) - set(classes))
        if unknown or any(
            isinstance(number, bool) or number != int(number) or number < 1 for number in wanted.values()
        ):
            raise ConfigError(
                f"AugmentToN: `n` must be a whole number of at least 1, or one for each of {classes}. "
                f"Received: {self.n!r}"
            )
        # A class that is not named gets no copies.
        return {name: int(wanted.get(name, 0)) for name in classes}

    def _copies(self, members: np.ndarray, number: int, label: int) -> list[tuple[int, int]]:
        if number <= 0 or len(members) == 0:
            return []
        order = np.random.default_rng([self.seed, label]).permutation(members)
        rounds = [(place % len(order), place // len(order) + 1) for place in range(number)]
        return sorted((int(order[place]), copy) for place, copy in rounds)

    def __len__(self) -> int:
        self.full_init()
        return len(self._plan)

    def get_data_info(self, idx: int) -> dict:
        """What the data set says of a sample, with its ``copy_index``."""
        self.full_init()
        place, copy = self._plan[idx]
        return {**self.dataset.get_data_info(int(place)), "sample_idx": idx % len(self), "copy_index": int(copy)}

    def get_cat_ids(self, idx: int) -> list[int]:
        """Class of a sample, as a list of one."""
        self.full_init()
        return self.dataset.get_cat_ids(int(self._plan[idx][0]))

    def __getitem__(self, idx: int) -> Any:
        self.full_init()
        if not -len(self) <= idx < len(self):
            raise IndexError(f"AugmentToN has {len(self)} samples. Received: {idx}")
        place, copy = (int(value) for value in self._plan[idx])
        results = self.dataset[place]
        if not isinstance(results, Mapping) or "data_samples" in results:
            raise ConfigError(
                "AugmentToN: the pipeline of its data set packs the samples already; leave loading there, and put the "
                "rest (Resize, PackInputs) into AugmentToN's own `pipeline`."
            )
        results = {**results, "sample_idx": idx % len(self), "copy_index": copy}
        if copy:
            results = self._augment(results)
        return self.pipeline(results)

    def _augment(self, results: dict) -> dict:
        if self.fixed:
            name = f"{results.get('cell_id', results['sample_idx'])}|{results.get('channel')}|{results['copy_index']}"
            with seeded(zlib.crc32(f"{self.seed}|{name}".encode())):
                changed = self.augment(results)
        else:
            changed = self.augment(results)
        if changed is None:
            raise ConfigError(
                f"AugmentToN: `augment` gave nothing for {results.get('img_path')}; take out what drops images"
            )
        return changed


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let all chance in the block come from ``seed``, and go on afterwards as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # what the transforms draw from
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
