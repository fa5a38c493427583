"""Randomness that depends on seed and epoch alone, so that a resumed training is the one that was interrupted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import multiprocessing
from torch.utils.data import get_worker_info

from ctc_mm.errors import ConfigError
from ctc_mm.registry import HOOKS


class SeedOfEpoch:
    """First step of a pipeline: seeds the process that loads whenever another epoch has begun.

    Args:
        seed: of the training.
        rank: of the process that trains.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self.seed, self.rank = seed, rank
        self.epoch = multiprocessing.Value("q", -1)  # loader workers that live on see it change
        self._seeded: int | None = None

    def __call__(self, results: dict) -> dict:
        """Pass the sample on."""
        worker, epoch = get_worker_info(), self.epoch.value
        if worker is not None and self._seeded != epoch:
            seed_everything(self.seed, epoch, self.rank, 1 + worker.id)
            self._seeded = epoch
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed}, rank={self.rank})"


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed Python, NumPy and torch anew at each epoch, in the training process and in its loader workers.

    MMEngine seeds once, at the start, and does not keep the state of the generators in a checkpoint: after a resume
    augmentation and dropout draw other numbers, and workers that are not persistent draw the same ones every epoch.
    With this hook an epoch's draws follow from seed, epoch, rank and worker; a resumed training ends with the weights
    of an unbroken one::

        custom_hooks = [dict(type='ctc_mm.EpochSeedHook')]

    Raises:
        ConfigError: the data set has no pipeline to seed the workers in.
    """

    # After DistSamplerSeedHook and before whatever draws.
    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._step: SeedOfEpoch | None = None

    def before_train(self, runner: Runner) -> None:
        """Put the seeding step in front of every pipeline of the training set, before the workers start."""
        pipelines = list(_pipelines(runner.train_dataloader.dataset))
        if not pipelines and runner.train_dataloader.num_workers:
            raise ConfigError(
                f"EpochSeedHook: {type(runner.train_dataloader.dataset).__name__} has no pipeline, so its workers "
                "cannot be seeded; set train_dataloader.num_workers=0, or leave the hook out"
            )
        # One step for all pipelines of a wrapped set: whichever comes first seeds, and no other seeds again after it.
        steps = (one for pipeline in pipelines for one in pipeline.transforms if isinstance(one, SeedOfEpoch))
        self._step = next(steps, None) or SeedOfEpoch(runner.seed, get_rank())
        for pipeline in pipelines:
            others = [one for one in pipeline.transforms if not isinstance(one, SeedOfEpoch)]
            pipeline.transforms[:] = [self._step, *others]

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process, and tell the workers."""
        seed_everything(runner.seed, runner.epoch, get_rank(), 0)
        if self._step is not None:
            self._step.epoch.value = runner.epoch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed once more: a new iterator of the loader has drawn a number, that of persistent workers has not."""
        if batch_idx == 0:
            seed_everything(runner.seed, runner.epoch, get_rank(), 0, 1)


def seed_everything(*numbers: int) -> None:
    """Seed Python's, NumPy's and torch's generators from several numbers; other numbers give other streams."""
    python, numpy, torch_seed = (int(one) for one in np.random.SeedSequence(numbers).generate_state(3))
    random.seed(python)
    np.random.seed(numpy)  # noqa: NPY002  # what the libraries' transforms draw from
    torch.manual_seed(torch_seed)


def _pipelines(dataset: Any) -> Iterator[Any]:
    """Pipelines of a data set and of those it wraps."""
    if hasattr(getattr(dataset, "pipeline", None), "transforms"):
        yield dataset.pipeline
    for inner in [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or [])]:
        if inner is not None:
            yield from _pipelines(inner)
