"""The leaves of what may lift the light detector: each changes what it names, and nothing else."""

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData

from ctc_mm.engine.runs.run_config import config_identity
from ctc_mm.engine.setup import load_config, register_all_modules

LITE = Path(__file__).parents[2] / "configs" / "lite"
FOLDER = LITE / "accuracy"
LEAVES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.py"))
HEAD, PIPELINE = "model.bbox_head.", "train_dataloader.dataset.pipeline."
ANCHORS = f"{HEAD}anchor_generator."
# Beginnings of the keys in which a leaf differs from ssdlite_cbam_mobilenetv2_bccd.py.
CHANGES = {
    "ema_bccd": {"custom_hooks."},
    "paper_augmentation_bccd": {PIPELINE, "train_pipeline."},
    "image_mining_bccd": {"model.train_cfg.mining"},
    "giou_bccd": {f"{HEAD}loss_bbox."},
    "quality_bccd": {"model.train_cfg.quality_targets"},
    "focal_bccd": {"model.train_cfg.mining", "model.train_cfg.focal_gamma"},
    "undecided_bccd": {"model.train_cfg.assigner.neg_iou_thr"},
    "input_448_bccd": {
        ANCHORS, "input_size", "train_pipeline.", "test_pipeline.", PIPELINE, "val_dataloader.dataset.pipeline.",
        "test_dataloader.dataset.pipeline.",
    },
    "fitted_anchors_bccd": {ANCHORS},
    "labels/clean_labels_bccd": {"train_dataloader.dataset.ann_file"},
    "labels/added_labels_bccd": {"train_dataloader.dataset.ann_file"},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules()


@pytest.fixture(scope="module")
def base():
    return load_config(LITE / "ssdlite_cbam_mobilenetv2_bccd.py")


def test_every_leaf_is_known():
    assert set(CHANGES) == set(LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_leaf_changes_what_it_names_alone(name, base):
    before, after = config_identity(base), config_identity(load_config(FOLDER / f"{name}.py"))
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differing
    for key in differing:
        assert any(key.startswith(beginning) for beginning in CHANGES[name]), key
    for beginning in CHANGES[name]:
        assert any(key.startswith(beginning) for key in differing), beginning


def test_anchors_grow_with_the_input(base):
    config = load_config(FOLDER / "input_448_bccd.py")
    generator, small = config.model.bbox_head.anchor_generator, base.model.bbox_head.anchor_generator
    for key in ("min_sizes", "max_sizes"):
        assert generator[key] == [round(size * 448 / 320) for size in small[key]]
    # Feature maps of 448 px: 56, 28, 14, 7, 4, 2.
    assert [448 / stride for stride in generator.strides] == [56, 28, 14, 7, 4, 2]


def test_paper_augmentation_moves_cells_once(base):
    kinds = [step.type for step in load_config(FOLDER / "paper_augmentation_bccd.py").train_pipeline]
    assert kinds == [
        "ctc_mm.LoadMicroscopyImage", "LoadAnnotations", "ctc_mm.ShiftScaleFlip", "Resize", "PhotoMetricDistortion",
        "PackDetInputs",
    ]  # fmt: skip


def test_averaged_weights_are_those_of_an_epoch(base):
    hooks = load_config(FOLDER / "ema_bccd.py").custom_hooks
    assert hooks[:-1] == base.custom_hooks
    assert hooks[-1] == dict(type="ctc_mm.EpochEMAHook", epochs=1.0)


@pytest.mark.parametrize("name", [name for name in LEAVES if not name.startswith("labels/")])
def test_head_learns_a_step(name):
    """The head alone, on features of a 64 px image: its loss on one batch falls."""
    model = load_config(FOLDER / f"{name}.py").model
    torch.manual_seed(0)
    cfg = dict(copy.deepcopy(model.bbox_head), train_cfg=copy.deepcopy(model.train_cfg), test_cfg=model.test_cfg)
    head = MODELS.build(cfg)
    head.init_weights()
    sides = (8, 4, 2, 1, 1, 1)
    features = [torch.randn(2, channels, side, side) for channels, side in zip(head.in_channels, sides, strict=True)]
    boxes = torch.tensor([[8.0, 8.0, 30.0, 34.0], [34.0, 20.0, 56.0, 46.0]])
    labels = torch.tensor([0, 1])
    truths = [InstanceData(bboxes=boxes[:n], labels=labels[:n]) for n in (2, 0)]
    metas = [dict(img_shape=(64, 64), pad_shape=(64, 64))] * 2
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    totals = []
    for _ in range(10):
        losses = head.loss_by_feat(*head(features), truths, metas)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert losses["loss_bbox"] > 0
    assert totals[-1] < 0.8 * totals[0]
