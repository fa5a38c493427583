"""A distilled classifier through training and testing as the tools do it."""

import csv

import pytest
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tiny_cells import draw_cells

from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.engine.testing import evaluate
from ctc_mm.engine.work_dir import best_checkpoint
from ctc_mm.errors import CheckpointError


@pytest.fixture(autouse=True)
def _scope():
    register_all_modules("mmpretrain")
    yield
    init_default_scope("mmdet")  # what other tests expect


def test_trained_with_dapi_and_tested_without(repo, tmp_path):
    cells = draw_cells(tmp_path / "cells", channels=("brightfield", "dapi"))
    options = {"data_root": str(cells), "train_cfg.max_epochs": 1, "model.backbone.base_channels": 4}
    options |= {"model.backbone.stem_channels": 4, "model.head.in_channels": 32}
    for split in ("train", "val", "test"):
        options |= {f"{split}_dataloader.num_workers": 0, f"{split}_dataloader.persistent_workers": False}
    config = load_config(
        repo / "configs" / "classification" / "deparray" / "light_distilled.py", options, tmp_path / "work"
    )
    Runner.from_cfg(config).train()
    weights = best_checkpoint(tmp_path / "work")
    metrics = evaluate(config, weights, tmp_path / "out", speed_images=0)
    assert 0 <= metrics["ctc/AUC"] <= 1
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert {row["channel"] for row in rows} == {"brightfield"}
    config.test_dataloader.dataset.channels = "dapi"
    with pytest.raises(CheckpointError, match="trained on channel brightfield, but the test set shows dapi"):
        evaluate(config, weights, tmp_path / "dapi", speed_images=0)
