"""GradCAMHook in real runs: train with validation, test, wrapped model, averaged weights."""

import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import ctc_mm.datasets
import ctc_mm.evaluation.metrics
import ctc_mm.models  # noqa: F401
from ctc_mm.engine.hooks.grad_cam_hook import GradCAMHook, spread_indices, truth_boxes
from ctc_mm.evaluation.operating_point import OperatingPoint, publish_operating_point
from ctc_mm.explain.detection_cam import explain_detection
from ctc_mm.registry import HOOKS

SIZE = 64
TRUTH = [20, 24, 16, 12]  # x, y, width, height
_run_number = itertools.count()


@pytest.fixture(autouse=True)
def _fresh_process():
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield
    publish_operating_point(None)


@pytest.fixture(scope="module")
def field_set(tmp_path_factory):
    """Four fields of 96x64 px, a bright cell in the first two."""
    folder = tmp_path_factory.mktemp("fields")
    images, annotations = [], []
    for index in range(4):
        image = np.full((SIZE, 96), 60, dtype=np.uint8)
        if index < 2:
            image[24:36, 20:36] = 220
            annotations.append(
                dict(id=index + 1, image_id=index, category_id=1, bbox=TRUTH, area=192, iscrowd=0, segmentation=[])
            )
        cv2.imwrite(str(folder / f"{index}.png"), image)
        images.append(dict(id=index, file_name=f"{index}.png", width=96, height=SIZE))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name="CTC")])
    (folder / "set.json").write_text(json.dumps(content))
    return folder


def build_runner(field_set, work_dir, hook, **options):
    pipeline = [
        dict(type="ctc_mm.LoadMicroscopyImage"),
        dict(type="Resize", scale=(SIZE, SIZE), keep_ratio=False),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="PackDetInputs"),
    ]
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(
            type="ctc_mm.CTCDetDataset",
            data_root=str(field_set),
            ann_file="set.json",
            data_prefix=dict(img=""),
            metainfo=dict(classes=("CTC",)),
            pipeline=pipeline,
        ),
    )
    assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0, ignore_iof_thr=-1)
    model = dict(
        type="SingleStageDetector",
        data_preprocessor=dict(type="DetDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3),
        backbone=dict(type="ResNet", depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
        neck=dict(type="FPN", in_channels=[64, 128], out_channels=16, num_outs=2),
        bbox_head=dict(
            type="ctc_mm.CTCSSDHead",
            num_classes=1,
            in_channels=(16, 16),
            anchor_generator=dict(
                type="SSDAnchorGenerator",
                scale_major=False,
                strides=[4, 8],
                ratios=[[2], [2]],
                min_sizes=[12, 30],
                max_sizes=[30, 50],
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
        ),
        train_cfg=dict(assigner=assigner, sampler=dict(type="PseudoSampler"), allowed_border=-1, pos_weight=-1),
        test_cfg=dict(nms_pre=200, score_thr=0.02, nms=dict(type="nms", iou_threshold=0.45), max_per_img=20),
    )
    test_loader = ConfigDict(loader)
    config = dict(
        model=ConfigDict(model),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=test_loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type="ctc_mm.CTCDetMetric", operating_point=None),
        test_evaluator=dict(type="ctc_mm.CTCDetMetric", operating_point=None),
        optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.001)),
        custom_hooks=[dict(type="ctc_mm.GradCAMHook", **hook)],
        randomness=dict(seed=0),
        experiment_name=f"grad_cam_{next(_run_number)}",
        default_scope="mmdet",
    )
    return Runner(**config | options)


def test_exports_fixed_images_at_the_interval_and_after_the_test(field_set, tmp_path, monkeypatch):
    messages = []
    hook = dict(num_images=2, interval=2, out_dir=str(tmp_path / "cam"), score_thr=0.0)
    runner = build_runner(field_set, tmp_path, hook)
    monkeypatch.setattr(runner.logger, "info", lambda message, *_: messages.append(str(message)))
    runner.train()
    assert sorted(path.name for path in (tmp_path / "cam").iterdir()) == ["epoch_2"]
    runner.test()
    folders = [tmp_path / "cam" / name for name in ("epoch_2", "test")]
    for folder in folders:
        expected = ["0.npz", "0.png", "0_levels.png", "2.npz", "2.png", "2_levels.png"]
        assert sorted(path.name for path in folder.iterdir()) == expected
    # The same weights and images: validation after the last epoch and the test agree to the bit.
    assert (folders[0] / "0.npz").read_bytes() == (folders[1] / "0.npz").read_bytes()
    maps = np.load(folders[0] / "0.npz")
    assert maps["fused"].shape == (SIZE, 96)
    assert len(maps["scores"]) > 0
    assert sum("Grad-CAM of 2 images" in message for message in messages) == 2
    # The true box is drawn thin and green (images are enlarged 10 times), also where nothing is found.
    overlay = cv2.imread(str(folders[0] / "0.png"))
    assert overlay[24 * 10 : 36 * 10, 20 * 10 : 36 * 10].shape == (120, 160, 3)
    edge = overlay[36 * 10 - 1, 20 * 10 : 36 * 10]
    assert (edge == (0, 255, 0)).all(axis=1).mean() > 0.5


def test_training_goes_on_as_without_the_hook(field_set, tmp_path):
    hook = dict(num_images=1, interval=1, out_dir=str(tmp_path / "cam"), score_thr=0.0)
    explained = build_runner(field_set, tmp_path / "with", hook)
    explained.train()
    plain = build_runner(field_set, tmp_path / "without", hook, custom_hooks=[])
    plain.train()
    assert len(list((tmp_path / "cam").iterdir())) == 2
    weights = plain.model.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in explained.model.state_dict().items())


def test_images_without_a_kept_box_are_counted_not_fatal(field_set, tmp_path, monkeypatch):
    messages = []
    hook = dict(num_images=9, interval=1, out_dir=str(tmp_path / "cam"), score_thr=1.1)
    runner = build_runner(field_set, tmp_path, hook)
    monkeypatch.setattr(runner.logger, "info", lambda message, *_: messages.append(str(message)))
    runner.val()
    reports = [message for message in messages if "Grad-CAM" in message]
    assert len(reports) == 1
    assert "Grad-CAM of 4 images" in reports[0]
    assert "4 without an explained box: " in reports[0]
    assert "3.png" in reports[0]
    assert not np.load(tmp_path / "cam" / "epoch_0" / "3.npz")["fused"].any()


def test_only_the_main_process_writes(field_set, tmp_path, monkeypatch):
    hook = dict(num_images=1, interval=1, out_dir=str(tmp_path / "cam"))
    runner = build_runner(field_set, tmp_path, hook)
    monkeypatch.setattr("ctc_mm.engine.hooks.export_hook.is_main_process", lambda: False)
    runner.val()
    assert not (tmp_path / "cam").exists()


def test_wrapped_model_is_unwrapped(field_set, tmp_path):
    hook = dict(num_images=1, interval=1, out_dir=str(tmp_path / "cam"), score_thr=0.0)
    runner = build_runner(field_set, tmp_path, hook)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        runner.model = runner.wrap_model(dict(type="MMDistributedDataParallel"), runner.model)
        runner.val()
    finally:
        torch.distributed.destroy_process_group()
    assert len(np.load(tmp_path / "cam" / "epoch_0" / "0.npz")["scores"]) > 0


def test_averaged_weights_are_explained_since_they_were_validated(field_set, tmp_path):
    hook = dict(num_images=1, interval=1, out_dir=str(tmp_path / "cam"), score_thr=0.0)
    runner = build_runner(field_set, tmp_path, hook)
    averaging = EMAHook(momentum=0.01)
    runner.register_hook(averaging)
    runner.train()
    # Since the last validation the hook has put the training weights back.
    item = runner.val_dataloader.dataset[0]
    trained, averaged = (explain_detection(m, item, score_thr=0.0) for m in (runner.model, averaging.ema_model.module))
    exported = np.load(tmp_path / "cam" / "epoch_2" / "0.npz")
    assert np.array_equal(exported["fused"], averaged.fused)
    assert not np.array_equal(exported["fused"], trained.fused)


def test_threshold_comes_from_the_evaluation_just_done(field_set, tmp_path):
    point = dict(target="CTC", thresholds={"CTC": 0.0}, f1={"CTC": 0.5}, iou_thr=0.5, n_images=4)
    hook = dict(num_images=1, out_dir=str(tmp_path / "cam"))
    applied = dict(type="ctc_mm.CTCDetMetric", operating_point=point)
    build_runner(field_set, tmp_path, hook, test_evaluator=applied).test()
    kept = len(np.load(tmp_path / "cam" / "test" / "0.npz")["scores"])
    build_runner(field_set, tmp_path, dict(hook, score_thr=1.1), test_evaluator=applied).test()
    assert len(np.load(tmp_path / "cam" / "test" / "0.npz")["scores"]) == 0 < kept
    point["thresholds"]["CTC"] = 1.1
    runner = build_runner(field_set, tmp_path, hook)
    publish_operating_point(OperatingPoint.from_dict(point))  # as a validation of this run does
    runner.test()
    assert len(np.load(tmp_path / "cam" / "test" / "0.npz")["scores"]) == 0


def test_unknown_class_is_an_error(field_set, tmp_path):
    hook = dict(num_images=1, interval=1, out_dir=str(tmp_path / "cam"), class_name="RBC")
    with pytest.raises(ValueError, match="no class 'RBC' in the data set"):
        build_runner(field_set, tmp_path, hook).val()


@pytest.mark.parametrize("option", [dict(num_images=0), dict(interval=0), dict(interval=1.5)])
def test_bad_options_are_refused(option):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        GradCAMHook(**option)


def test_hook_is_registered_and_runs_before_averaged_weights_go():
    hook = HOOKS.build(dict(type="ctc_mm.GradCAMHook", num_images=3))
    assert isinstance(hook, GradCAMHook)
    assert hook.priority == "ABOVE_NORMAL"


@pytest.mark.parametrize(
    ("length", "count", "indices"), [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (10, 3, [0, 3, 6]), (5, 1, [0])]
)
def test_spread_indices(length, count, indices):
    assert spread_indices(length, count) == indices


def test_truth_boxes_leave_out_ignore_regions():
    assert truth_boxes({}).shape == (0, 4)
    info = dict(instances=[dict(bbox=[1, 2, 3, 4], ignore_flag=0), dict(bbox=[0, 0, 9, 9], ignore_flag=1)])
    assert truth_boxes(info).tolist() == [[1, 2, 3, 4]]
