"""Pretrained classifiers through tools/train.py: frozen, stopped early, and from scratch."""

import pytest
import torch
from tiny_cells import draw_cells, write_config
from tool_runs import train

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.errors import CheckpointError
from ctc_mm.registry import MODELS

SMALL = {"train": (4, 4), "val": (2, 2), "test": (2, 2)}
EXTRA = """
model['backbone'].update(
    frozen_stages=0, init_cfg=dict(type='ctc_mm.PretrainedClassifier', checkpoint={weights!r}))
custom_hooks += [
    dict(type='ctc_mm.FreezeBackboneHook', epochs=1),
    dict(type='ctc_mm.DelayedEarlyStoppingHook', monitor='ctc/balanced_log_loss', rule='less', patience=1,
         min_delta=10.0),  # nothing improves by that much
]
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    draw_cells(folder / "cells", SMALL)
    return folder


@pytest.fixture(scope="module")
def weights(folder):
    torch.manual_seed(5)
    backbone = MODELS.build(dict(type="mmpretrain.ResNet", depth=18, stem_channels=4, base_channels=4))
    backbone.init_weights()
    torch.save({f"backbone.{name}": value for name, value in backbone.state_dict().items()}, folder / "pretrained.pth")
    return folder / "pretrained.pth"


def state(work_dir, epoch):
    return load_checkpoint_safely(work_dir / f"epoch_{epoch}.pth")["state_dict"]


def test_the_backbone_stands_still_then_learns_and_the_stop_counts_from_there(folder, weights):
    config = write_config(folder / "frozen.py", folder / "cells", EXTRA.format(weights=str(weights)))
    work_dir = train(config, folder / "frozen")
    given = torch.load(weights)
    names = [name for name in given if name.startswith("backbone.layer4") and name.endswith("weight")]
    first, second = state(work_dir, 1), state(work_dir, 2)
    assert names
    for name in names:
        assert torch.equal(first[name], given[name]), name
    assert any(not torch.equal(second[name], given[name]) for name in names)
    # Epoch 1 is frozen and does not count, 2 is the first score, 3 no improvement: the end.
    assert sorted(path.name for path in work_dir.glob("epoch_*.pth")) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]


def test_from_scratch_needs_no_file(folder):
    config = write_config(folder / "absent.py", folder / "cells", EXTRA.format(weights=str(folder / "absent.pth")))
    with pytest.raises(CheckpointError, match=r"(?s)model\.backbone\.init_cfg: .*absent\.pth.*--from-scratch"):
        train(config, folder / "refused")
    work_dir = train(config, folder / "scratch", "--from-scratch", "--cfg-options", "train_cfg.max_epochs=2")
    first, second = state(work_dir, 1), state(work_dir, 2)
    # The stem, frozen by frozen_stages=0 before, learns.
    assert not torch.equal(first["backbone.conv1.weight"], second["backbone.conv1.weight"])
