"""The headline config is the paper's model; the ablation differs from it as Table 2 says."""

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS

from ctc_mm.engine.setup import load_config, register_all_modules

PARTS = {"CBAMNeck": "ctc_mm.CBAMNeck", "Fusion": "ctc_mm.TransposedConvFusionNeck"}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules()


def neck_types(config):
    neck = config.model.neck
    return [part.type for part in (neck if isinstance(neck, list) else [neck])]


@pytest.mark.parametrize(
    ("name", "parts", "ratio"),
    [
        ("ablation/ssd", [], 3),
        ("ablation/ssd_fusion", [PARTS["Fusion"]], 3),
        ("ablation/ssd_attention", [PARTS["CBAMNeck"]], 3),
        ("ablation/ssd_attention_fusion", [PARTS["CBAMNeck"], PARTS["Fusion"]], 3),
        ("ssd_cbam_vgg16_ctc", [PARTS["CBAMNeck"], PARTS["Fusion"]], 1.2),
    ],
)
def test_table_2(repo, name, parts, ratio):
    config = load_config(repo / "configs" / f"{name}.py")
    assert neck_types(config) == ["SSDNeck", *parts]
    assert config.model.train_cfg.neg_pos_ratio == ratio
    assert config.model.bbox_head.type == "ctc_mm.CTCSSDHead"


def test_anchors_are_the_papers(repo):
    """[21, 45, 99, 153, 207, 261, 315]: six min sizes and the last max size (reading 4)."""
    head = MODELS.build(load_config(repo / "configs/ssd_cbam_vgg16_ctc.py").model.bbox_head)
    generator = head.prior_generator
    sizes = [21, 45, 99, 153, 207, 261, 315]
    default = TASK_UTILS.build(  # MMDetection's SSD300-COCO, as its config writes it
        dict(type="SSDAnchorGenerator", scale_major=False, input_size=300, basesize_ratio_range=(0.15, 0.9),
             strides=[8, 16, 32, 64, 100, 300], ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]])
    )  # fmt: skip
    for level, (small, large) in enumerate(zip(sizes, sizes[1:], strict=False)):
        boxes = generator.base_anchors[level]
        wh = boxes[:, 2:] - boxes[:, :2]
        torch.testing.assert_close(wh[0], torch.tensor([float(small)] * 2))
        torch.testing.assert_close(wh[1], torch.tensor([(small * large) ** 0.5] * 2))
        torch.testing.assert_close(boxes, default.base_anchors[level])
    shapes = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
    assert sum(len(p) for p in generator.grid_priors(shapes, device="cpu")) == 8732


def test_schedule_is_the_papers(repo):
    config = load_config(repo / "configs/ssd_cbam_vgg16_ctc.py")
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.betas, optimizer.weight_decay) == ("Adam", 6e-4, (0.9, 0.999), 5e-4)
    assert config.train_cfg.max_epochs == 100
    assert config.param_scheduler[0].type == "CosineAnnealingLR"
    hooks = {hook.type: hook for hook in config.custom_hooks}
    assert hooks["ctc_mm.FreezeBackboneHook"].epochs == 50
    assert hooks["ctc_mm.DelayedEarlyStoppingHook"].min_delta == 0.001


def test_own_cells_start_the_backbone(repo):
    init_cfg = load_config(repo / "configs/ssd_cbam_vgg16_own_cells_ctc.py").model.backbone.init_cfg
    assert init_cfg.type == "ctc_mm.PretrainedVGG"
    assert init_cfg.checkpoint.endswith(".pth")
