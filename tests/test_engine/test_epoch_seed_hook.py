"""Draws of an epoch follow from seed, epoch and worker, also where one data set wraps another."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dataset import Compose
from torch.utils.data import DataLoader

from ctc_mm.engine.hooks.epoch_seed_hook import EpochSeedHook, SeedOfEpoch
from ctc_mm.errors import ConfigError


class Drawing:
    """Eight samples; each pipeline draws one number."""

    def __init__(self, dataset=None):
        self.pipeline = Compose([self._draw])
        self.dataset = dataset

    def _draw(self, results):
        return dict(results, draws=[*results["draws"], float(np.random.random())])  # noqa: NPY002

    def __len__(self):
        return 8

    def __getitem__(self, index):
        results = {"draws": []} if self.dataset is None else self.dataset[index]
        return self.pipeline(results)


def draws_of(dataset, epochs, workers=1):
    """Draws of each epoch, sample by sample."""
    loader = DataLoader(
        dataset, num_workers=workers, persistent_workers=workers > 0, batch_size=None, multiprocessing_context="fork"
    )
    runner = SimpleNamespace(train_dataloader=loader, seed=3, epoch=0)
    hook = EpochSeedHook()
    hook.before_train(runner)
    drawn = []
    for runner.epoch in epochs:
        hook.before_train_epoch(runner)
        drawn.append([tuple(sample["draws"]) for sample in loader])
    return drawn


@pytest.mark.parametrize("dataset", [Drawing, lambda: Drawing(Drawing())], ids=["plain", "wrapped"])
def test_no_number_is_drawn_twice(dataset):
    drawn = draws_of(dataset(), epochs=(0, 1))
    numbers = [number for epoch in drawn for sample in epoch for number in sample]
    assert len(set(numbers)) == len(numbers)
    # An epoch taken up later is the same one.
    assert draws_of(dataset(), epochs=(1,)) == drawn[1:]


def test_training_again_keeps_the_step():
    dataset = Drawing(Drawing())
    draws_of(dataset, epochs=(0,))
    first = dataset.pipeline.transforms[0]
    draws_of(dataset, epochs=(0,))
    assert [type(one) for one in dataset.pipeline.transforms].count(SeedOfEpoch) == 1
    assert dataset.pipeline.transforms[0] is dataset.dataset.pipeline.transforms[0] is first


def test_workers_without_a_pipeline_are_refused():
    loader = SimpleNamespace(dataset=[1, 2], num_workers=2)
    with pytest.raises(ConfigError, match="list has no pipeline, so its workers cannot be seeded"):
        EpochSeedHook().before_train(SimpleNamespace(train_dataloader=loader, seed=0, epoch=0))
