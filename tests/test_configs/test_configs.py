"""Every detection config is loaded and built through the registries, which refuse unknown keys."""

import copy
import inspect
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIMIZERS, PARAM_SCHEDULERS, TRANSFORMS
from mmengine.registry import LOOPS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ctc_mm.engine.setup import load_config, register_all_modules

ELSEWHERE = {"_base_", "classification"}  # the latter: test_classification_configs.py
CONFIGS = sorted(p for p in (Path(__file__).parents[2] / "configs").rglob("*.py") if not ELSEWHERE & set(p.parts))
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {"self", "experiment_name", "cfg"}
# What the configs themselves define for their leaves, beside what Runner takes.
VARIABLES = {
    "data_root", "classes", "num_classes", "metainfo", "dataset", "levels", "input_size", "norm", "max_epochs",
    "freeze_epochs", "base_lr", "train_pipeline", "test_pipeline", "custom_imports", "vis_backends", "cudnn_benchmark",
    "attention", "fusion", "workers", "label", "channels", "widths", "neck_widths", "swish", "cross_entropy",
    "box_selection", "train_steps", "train_end", "test_steps", "test_end", "resize",
}  # fmt: skip
IDS = ["/".join(path.parts[path.parts.index("configs") + 1 :]) for path in CONFIGS]


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_all_modules()


@pytest.fixture(params=CONFIGS, ids=IDS)
def config(request):
    return load_config(request.param)


def box_head(model_cfg):
    return model_cfg.roi_head.bbox_head if "roi_head" in model_cfg else model_cfg.bbox_head


def box_selection(model_cfg):
    return model_cfg.test_cfg.get("rcnn", model_cfg.test_cfg)


def test_there_are_configs():
    names = {path.name for path in CONFIGS}
    assert {"ssd_cbam_vgg16_ctc.py", "ssd_cbam_vgg16_bccd.py", "ssdlite_cbam_mobilenetv2_ctc.py"} <= names
    assert {"ssd.py", "ssd_fusion.py", "ssd_attention.py", "ssd_attention_fusion.py"} <= names


def test_top_level_keys_are_known(config):
    assert set(config) - RUNNER_KEYS - VARIABLES - {"default_scope", "work_dir"} == set()


def test_every_part_builds(config):
    model_cfg = copy.deepcopy(config.model)
    model_cfg.backbone.init_cfg = None
    model = MODELS.build(model_cfg)
    OPTIMIZERS.build(dict(config.optim_wrapper.optimizer, params=model.parameters()))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    for scheduler in copy.deepcopy(config.param_scheduler):
        if scheduler.pop("convert_to_iter_based", False):
            assert scheduler.by_epoch
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
    for hook in [*config.default_hooks.values(), *config.custom_hooks]:
        HOOKS.build(copy.deepcopy(hook))
    for name in ("train", "val", "test"):
        dataset = copy.deepcopy(config[f"{name}_dataloader"].dataset)
        for step in dataset.pipeline:
            TRANSFORMS.build(step)
        DATASETS.build(dict(dataset, lazy_init=True, pipeline=[]))
        if name != "train":
            METRICS.build(copy.deepcopy(config[f"{name}_evaluator"]))


def test_keys_that_no_constructor_checks_are_known(config):
    """Heads and loaders read these dicts by ``get`` or hand them on late: a slip of the pen would change nothing."""
    known = {"nms_pre", "nms", "min_bbox_size", "score_thr", "max_per_img"}
    known |= {"conf_thr"} if config.model.type == "YOLOV3" else set()
    stages = config.model.test_cfg.values() if "rcnn" in config.model.test_cfg else [config.model.test_cfg]
    for test_cfg in stages:
        assert set(test_cfg) <= known
        assert set(test_cfg.nms) == {"type", "iou_threshold"}
    loader = set(inspect.signature(DataLoader.__init__).parameters) - {"self"}
    for name in ("train", "val", "test"):
        assert set(config[f"{name}_dataloader"]) <= loader
        loop = LOOPS.get(config[f"{name}_cfg"].type)
        assert set(config[f"{name}_cfg"]) - {"type"} <= set(inspect.signature(loop).parameters)
    assert set(config.optim_wrapper) <= {"type", "optimizer", "clip_grad"}
    assert set(config.env_cfg) <= {"cudnn_benchmark", "mp_cfg", "dist_cfg"}
    assert set(config.randomness) <= {"seed", "deterministic"}


def test_unknown_keys_fail(config):
    """The test above can fail: a mistyped key reaches a constructor that does not know it."""
    model_cfg = copy.deepcopy(config.model)
    model_cfg.backbone.init_cfg = None
    with pytest.raises(TypeError):
        MODELS.build(dict(copy.deepcopy(model_cfg), bbox_hed={}))
    box_head(model_cfg).num_clases = 3
    with pytest.raises(TypeError):
        MODELS.build(model_cfg)


def test_classes_agree_everywhere(config):
    for name in ("train", "val", "test"):
        metainfo = config[f"{name}_dataloader"].dataset.metainfo
        assert len(metainfo.classes) == box_head(config.model).num_classes
        assert metainfo.target in metainfo.classes
        assert config[f"{name}_dataloader"].dataset.data_root == config.data_root
    if config.data_root == "data/ctc/":
        assert config.classes[0] == "CTC"


def test_truth_is_loaded_after_resizing_where_metrics_are_taken(config):
    """Before Resize the truth would be in the network's pixels while predictions are in the image's."""
    for name in ("val", "test"):
        steps = [step.type for step in config[f"{name}_dataloader"].dataset.pipeline]
        truth = next(step for step in steps if step in ("LoadAnnotations", "ctc_mm.LabelCEP8"))
        assert steps.index(truth) > steps.index("Resize")
        assert not any("Flip" in step or "Crop" in step or "Distortion" in step for step in steps)


def test_input_size_is_written_once(config):
    for name in ("train", "test"):
        resize = next(s for s in config[f"{name}_dataloader"].dataset.pipeline if s.type == "Resize")
        assert tuple(resize.scale) == (config.input_size, config.input_size)


def test_dense_fields_are_not_truncated(config):
    selection = box_selection(config.model)
    assert selection.max_per_img >= 1000
    assert selection.score_thr == 0.02
    assert selection.nms.iou_threshold == 0.45
