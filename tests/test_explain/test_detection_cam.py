import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn
from torch.nn.functional import avg_pool2d

from ctc_mm.errors import ConfigError
from ctc_mm.explain.cam import grad_cam, normalize_map, resample_map
from ctc_mm.explain.detection_cam import evaluation_mode, explain_detection

ALL_HEADS = ["ssd", "retinanet", "atss", "gfl", "fcos", "rtmdet", "yolox"]


class LinearDetector(nn.Module):
    """Two levels (the image pooled by 4 and by 8) under a real 1x1 AnchorHead: everything can be summed by hand."""

    def __init__(self, class_weights):
        super().__init__()
        self.data_preprocessor = MODELS.build(
            dict(type="mmdet.DetDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=False)
        )
        anchors = dict(type="AnchorGenerator", ratios=[1.0], scales=[1.0], strides=[4, 8])
        self.bbox_head = MODELS.build(
            ConfigDict(
                type="mmdet.AnchorHead",
                num_classes=2,
                in_channels=3,
                feat_channels=3,
                anchor_generator=anchors,
                loss_cls=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True),
                test_cfg=dict(nms_pre=100, score_thr=0.01, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
            )
        )
        with torch.no_grad():
            for parameter in self.bbox_head.parameters():
                parameter.zero_()
            self.bbox_head.conv_cls.weight[:, :, 0, 0] = torch.tensor(class_weights)
            self.bbox_head.conv_cls.bias.fill_(-3)

    def extract_feat(self, inputs):
        return avg_pool2d(inputs, 4), avg_pool2d(inputs, 8)


@pytest.fixture
def linear():
    return LinearDetector([[0.05, -0.01, 0.0], [0.0, 0.0, 0.05]])


def cells_item(item):
    """A dark field with a patch for class 0 in channel 0, half as bright in channel 1, and one for class 1."""
    data = item((32, 32))
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0, 8:12, 4:8] = 200
    image[1, 8:12, 4:8] = 100
    image[2, 20:24, 24:28] = 120
    return dict(data, inputs=image)


def test_linear_head_equals_the_sum_by_hand(linear, item):
    data = cells_item(item)
    result = explain_detection(linear, data, score_thr=0.5)
    # Each patch fills one cell of level 0 (row 2, column 1 and row 5, column 6); its quarter brightness on level 1
    # stays under the threshold.
    order = np.argsort(result.labels)
    logits = {0: 200 * 0.05 - 100 * 0.01 - 3, 1: 120 * 0.05 - 3}
    assert result.labels[order].tolist() == [0, 1]
    np.testing.assert_allclose(result.scores[order], [1 / (1 + np.exp(-logits[label])) for label in (0, 1)], rtol=1e-5)
    np.testing.assert_allclose(result.boxes_xyxy[order], [[2, 6, 6, 10], [22, 18, 26, 22]], atol=1e-4)
    # alpha_k = (w_0k + w_1k) / 64 over the 8x8 cells, so the map is their weighted sum of the channels.
    level = np.zeros((8, 8))
    level[2, 1] = 0.05 * 200 - 0.01 * 100
    level[5, 6] = 0.05 * 120
    expected = resample_map(torch.tensor(level / level.max()).float(), (32, 32), (32, 32), (32, 32)).numpy()
    np.testing.assert_allclose(result.levels[0], expected, atol=1e-5)
    assert result.levels[1].max() == 0
    np.testing.assert_allclose(result.fused, 2 / 3 * expected, atol=1e-5)
    assert result.weights.tolist() == [2, 1]
    assert result.box_levels.tolist() == [0, 0]


def test_no_kept_box_gives_empty_maps(linear, item):
    data = item((32, 48))
    data["inputs"] = torch.zeros(3, 32, 48, dtype=torch.uint8)
    for target in ("all", "top1", 0):
        result = explain_detection(linear, data, target=target)
        assert result.boxes_xyxy.shape == (0, 4)
        assert result.levels.shape == (2, 32, 48)
        assert result.fused.shape == (32, 48)
        assert not result.levels.any()
        assert not result.fused.any()


def test_class_without_a_box_gives_empty_maps_and_keeps_the_boxes(linear, item):
    data = cells_item(item)
    data["inputs"][2] = 0
    result = explain_detection(linear, data, label=1)
    assert result.labels.tolist() == [0]
    assert result.explained.tolist() == [False]
    assert not result.fused.any()


def test_targets_choose_whose_logit_is_explained(linear, item):
    data = cells_item(item)
    heat = {}
    for name, options in dict(
        all={}, top1=dict(target="top1"), second=dict(target=1), other=dict(label=1), none=dict(target=0, label=1)
    ).items():
        result = explain_detection(linear, data, **options)
        assert result.labels.tolist() == [0, 1]
        heat[name] = (result.explained.tolist(), result.fused[10, 6] > 0.1, result.fused[22, 26] > 0.1)
    assert heat == {
        "all": ([True, True], True, True),
        "top1": ([True, False], True, False),
        "second": ([False, True], False, True),
        "other": ([False, True], False, True),
        "none": ([False, False], False, False),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(target=2), "field.png: `target` is box 2, but only boxes 0 to 1 are kept"),
        (dict(target=-1), "must be 'all', 'top1' or the index"),
        (dict(target="best"), "must be 'all', 'top1' or the index"),
        (dict(levels=[2]), "different numbers from 0 to 1"),
        (dict(levels=[]), "different numbers from 0 to 1"),
        (dict(levels=[0, 0]), "different numbers from 0 to 1"),
        (dict(layers=["neck"]), "no module 'neck'"),
        (dict(layers=["bbox_head.loss_cls"]), "'bbox_head.loss_cls' gives no"),
    ],
)
def test_options_out_of_range_are_refused(linear, item, options, message):
    with pytest.raises(ValueError, match=message):
        explain_detection(linear, cells_item(item), **options)


@pytest.mark.parametrize("name", ALL_HEADS)
def test_explained_boxes_are_the_models_own_predictions(detector, item, name):
    model, data = detector(name), item((96, 128), scale=(2.0, 1.5))
    result = explain_detection(model, data, score_thr=0.3)
    with torch.no_grad():
        predicted = model.test_step(dict(inputs=[data["inputs"]], data_samples=[data["data_samples"]]))[0]
    predicted = predicted.pred_instances[predicted.pred_instances.scores >= 0.3]
    predicted = predicted[predicted.scores.argsort(descending=True, stable=True)]
    assert len(predicted) > 0
    np.testing.assert_allclose(result.scores, predicted.scores, atol=1e-6)
    np.testing.assert_allclose(result.boxes_xyxy, predicted.bboxes, rtol=1e-4, atol=1e-3)
    assert result.labels.tolist() == predicted.labels.tolist()
    assert result.levels.shape == (3, 64, 64)
    hot = set(np.flatnonzero(result.levels.max(axis=(1, 2)) > 0))
    assert hot
    assert hot <= set(result.box_levels.tolist())
    assert 0 <= result.levels.min() <= result.levels.max() <= 1


@pytest.mark.parametrize("name", ["ssd", "rtmdet"])
def test_model_is_left_as_it_was(detector, item, name):
    model = detector(name)
    model.train()
    model.backbone.eval()  # a frozen backbone: its BatchNorm stays in eval mode
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.bbox_head.requires_grad_(True)
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = explain_detection(model, item(), score_thr=0.3)
    assert result.fused.max() > 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {p.requires_grad for p in model.bbox_head.parameters()} == {True}
    assert {p.requires_grad for p in model.backbone.parameters()} == {False}
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_and_free_parameters_give_the_same_map(detector, item):
    model = detector("retinanet")
    free = explain_detection(model, item(), score_thr=0.3)
    model.requires_grad_(False)
    with torch.no_grad():
        frozen = explain_detection(model, item(), score_thr=0.3)
    assert np.array_equal(free.fused, frozen.fused)
    assert free.fused.max() > 0


def test_modes_are_restored_after_an_error(detector, item):
    model = detector("ssd").train()
    modes = [module.training for module in model.modules()]
    assert set(modes) == {True, False}  # MMDetection's ResNet keeps its BatchNorm in eval mode
    with pytest.raises(ValueError, match="no module"):
        explain_detection(model, item(), layers=["nowhere"])
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(model):
        raise RuntimeError("stop")
    assert [module.training for module in model.modules()] == modes


def test_levels_leave_out_maps_but_keep_their_weights(detector, item):
    model = detector("ssd")
    full = explain_detection(model, item(), score_thr=0.2)
    part = explain_detection(model, item(), score_thr=0.2, levels=[2, 0])
    assert part.level_ids.tolist() == [0, 2]
    assert part.weights.tolist() == [3, 1]
    assert np.array_equal(part.levels, full.levels[[0, 2]])
    np.testing.assert_allclose(part.fused, (3 * full.levels[0] + full.levels[2]) / 4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("ssd", "neck"), ("retinanet", "bbox_head.cls_convs.0"), ("atss", "bbox_head.cls_convs.0"), ("yolox", None)],
)
def test_maps_before_the_class_logits_are_explained(detector, item, name, layer):
    model = detector(name)
    layers = [layer] if layer else [f"bbox_head.multi_level_cls_convs.{level}" for level in range(3)]
    default = explain_detection(model, item(), score_thr=0.3)
    named = explain_detection(model, item(), score_thr=0.3, layers=layers)
    assert default.fused.max() > 0
    np.testing.assert_allclose(named.levels, default.levels, atol=1e-5)


def test_neck_is_explained_where_no_convolution_gives_the_logits(detector, item):
    model = detector("retinanet")
    plain = model.bbox_head.forward

    def halved(features):
        scores, boxes = plain(features)
        return [level / 2 for level in scores], boxes

    model.bbox_head.forward = halved
    default = explain_detection(model, item(), score_thr=0.3)
    neck = explain_detection(model, item(), score_thr=0.3, layers=["neck"])
    assert default.fused.max() > 0
    np.testing.assert_allclose(neck.levels, default.levels, atol=1e-5)


def test_deeper_layers_are_explained_by_name(detector, item):
    model = detector("retinanet").requires_grad_(False)
    deep = explain_detection(model, item(), score_thr=0.3, layers=["backbone.layer1", "backbone.layer4"])
    assert deep.levels.shape == (2, 96, 96)
    assert (deep.levels.max(axis=(1, 2)) > 0.9).all()
    assert not any(module._forward_hooks for module in model.modules())


def test_deeper_layer_equals_autograd_by_hand(detector, item):
    model, data = detector("retinanet"), item()
    result = explain_detection(model, data, score_thr=0.3, target="top1", layers=["backbone.layer2"])
    batch = model.data_preprocessor(dict(inputs=[data["inputs"]], data_samples=[data["data_samples"]]))
    stem = model.backbone.maxpool(model.backbone.relu(model.backbone.norm1(model.backbone.conv1(batch["inputs"]))))
    second = model.backbone.layer2(model.backbone.layer1(stem)).detach().requires_grad_()
    third = model.backbone.layer3(second)
    outs = model.bbox_head(model.neck((None, second, third, model.backbone.layer4(third))))
    best = torch.cat([level.flatten() for level in outs[0]]).max()
    gradient = torch.autograd.grad(best, second)[0]
    expected = normalize_map(grad_cam(second.detach()[0], gradient[0]))
    np.testing.assert_allclose(
        result.levels[0], resample_map(expected, (96, 96), (96, 96), (96, 96)).numpy(), atol=1e-4
    )


def test_padding_is_cut_and_maps_land_on_the_boxes(linear, item):
    data = cells_item(item)
    # The image is 16x24 px, enlarged 1.0x down and 4/3x across to 16x32; the rest of the input is padding.
    linear.data_preprocessor.pad_size_divisor = 32
    data["inputs"] = data["inputs"][:, :16]
    data["data_samples"].set_metainfo(dict(ori_shape=(16, 24), img_shape=(16, 32), scale_factor=(4 / 3, 1.0)))
    result = explain_detection(linear, data)
    assert result.fused.shape == (16, 24)
    np.testing.assert_allclose(result.boxes_xyxy, [[1.5, 6, 4.5, 10]], atol=1e-4)
    row, column = np.unravel_index(result.levels[0].argmax(), (16, 24))
    assert abs(row - 9.5) <= 1  # the patch spans rows 8 to 12 and, in original pixels, columns 3 to 6
    assert abs(column - 4) <= 1


def test_two_stage_and_other_models_are_refused(item):
    with pytest.raises(ConfigError, match="received Linear"):
        explain_detection(nn.Linear(1, 1), item())


def test_same_input_gives_the_same_bytes(detector, item):
    first, second = (explain_detection(detector("yolox"), item(), score_thr=0.2) for _ in range(2))
    assert first.levels.tobytes() == second.levels.tobytes()
    assert first.fused.tobytes() == second.fused.tobytes()
