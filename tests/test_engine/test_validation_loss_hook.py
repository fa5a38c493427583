import json

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from tiny_fields import draw_fields, write_field_config
from tiny_training import build_runner
from tool_runs import run_tool

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.hooks.validation_loss_hook import VALIDATION_LOSS
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import ConfigError

EXTRA = """
custom_hooks = [dict(type='ctc_mm.ValidationLossHook')]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='resized_first')
"""
# Boxes read before their image is resized are in the network's pixels already.
READ_FIRST = (
    EXTRA.replace("resized_first", "read_first")
    + """
load, resize, boxes, pack = pipeline
val_dataloader = dict(loader, dataset=dict(loader['dataset'], pipeline=[load, boxes, resize, pack]))
"""
)


def logged(work_dir):
    lines = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    return [line for line in map(json.loads, lines) if VALIDATION_LOSS in line]


def losses_of(config_file, checkpoint):
    """Mean over the batches of two, of boxes read before the resize, written out."""
    register_all_modules()
    config = load_config(config_file)
    model = MODELS.build(config.model)
    model.load_state_dict(load_checkpoint_safely(checkpoint)["state_dict"])
    model.eval()
    pipeline = list(config.val_dataloader.dataset.pipeline)
    names = [step["type"] for step in pipeline]
    pipeline.insert(1, pipeline.pop(names.index("LoadAnnotations")))
    dataset = DATASETS.build(dict(config.val_dataloader.dataset, pipeline=pipeline))
    found = []
    for start in range(0, len(dataset), 2):
        data = model.data_preprocessor(pseudo_collate([dataset[start], dataset[start + 1]]), False)
        with torch.no_grad():
            losses = model.loss(data["inputs"], data["data_samples"])
        found.append([float(sum(losses[key]) if isinstance(losses[key], list) else losses[key])
                      for key in ("loss_cls", "loss_bbox")])  # fmt: skip
    return torch.tensor(found).mean(dim=0).tolist()


@pytest.mark.parametrize("extra", [EXTRA, READ_FIRST], ids=["resized first", "read first"])
def test_the_loss_is_that_of_the_weights_validated(tmp_path, extra):
    config = write_field_config(tmp_path / "tiny.py", draw_fields(tmp_path / "fields"), extra)
    run_tool("train", config, "--work-dir", tmp_path / "work", "--ema")
    lines = logged(tmp_path / "work")
    assert [line["step"] for line in lines] == [1, 2]
    loss_cls, loss_bbox = losses_of(config, tmp_path / "work" / "epoch_2.pth")
    assert loss_bbox > 0
    assert lines[1][f"{VALIDATION_LOSS}/loss_cls"] == pytest.approx(loss_cls, rel=1e-5)
    assert lines[1][f"{VALIDATION_LOSS}/loss_bbox"] == pytest.approx(loss_bbox, rel=1e-5)
    assert lines[1][VALIDATION_LOSS] == pytest.approx(loss_cls + loss_bbox, rel=1e-5)


def test_other_models_are_refused(tmp_path):
    runner = build_runner(tmp_path, 1, hooks=[{"type": "ctc_mm.ValidationLossHook"}], scores=[0.5])
    with pytest.raises(ConfigError, match="TinyModel has no loss to measure"):
        runner.train()
