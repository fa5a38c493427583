import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample

from ctc_mm.registry import HOOKS


def sample(**metainfo):
    return DetDataSample(metainfo=metainfo)


@pytest.fixture
def runner():
    logger = logging.getLogger("dropped_cells")
    logger.setLevel(logging.INFO)
    return SimpleNamespace(logger=logger, epoch=2, model=torch.nn.Linear(1, 1))


def run_epoch(hook, runner, batches):
    hook.before_train_epoch(runner)
    for index, batch in enumerate(batches):
        hook.after_train_iter(runner, index, batch)
    hook.after_train_epoch(runner)


def test_data_sets_that_note_nothing_are_passed_over(runner, caplog):
    hook = HOOKS.build(dict(type="ctc_mm.DroppedCellsHook"))
    with caplog.at_level(logging.INFO):
        run_epoch(hook, runner, [dict(data_samples=[sample()]), dict(inputs=[]), None])
    assert caplog.text == ""


def test_sums_of_an_epoch_and_a_new_start(runner, caplog):
    hook = HOOKS.build(dict(type="ctc_mm.DroppedCellsHook"))
    batches = [
        dict(data_samples=[sample(cells_before_transforms=5, dropped_cells=2), sample()]),
        dict(data_samples=[sample(cells_before_transforms=4, dropped_cells=0)]),
    ]
    with caplog.at_level(logging.INFO):
        run_epoch(hook, runner, batches)
        run_epoch(hook, runner, batches[1:])
    assert [record.message for record in caplog.records] == [
        "augmentation left out 2 of 9 cells in epoch 3.",
        "augmentation left out 0 of 4 cells in epoch 3.",
    ]
