import inspect

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from ctc_mm.errors import ConfigError
from ctc_mm.explain.box_targets import decode_priors, trace_kept_boxes
from ctc_mm.explain.head_outputs import check_head, read_outputs

HEAD_NAMES = ["ssd", "retinanet", "atss", "gfl", "fcos", "rtmdet", "yolox"]
FACTOR_HEADS = {"atss", "fcos", "yolox"}
META = dict(img_shape=(96, 96), ori_shape=(48, 96), scale_factor=(1.0, 2.0))


def head_and_outs(detector, name, **test_cfg):
    head = detector(name, **test_cfg).bbox_head
    generator = torch.Generator().manual_seed(3)
    outs = head(tuple(torch.rand(1, 16, size, size, generator=generator) for size in (12, 6, 3)))
    return head, outs


def rows(outs_of_one_kind, channels):
    """Every prior's outputs, flattened the way MMDetection's own losses do it."""
    return torch.cat([level.permute(0, 2, 3, 1).reshape(1, -1, channels) for level in outs_of_one_kind], dim=1)[0]


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_traced_logits_give_back_the_reported_scores(detector, name):
    head, outs = head_and_outs(detector, name)
    kept = trace_kept_boxes(head, outs, META, score_thr=0.1)
    reported = head.predict_by_feat(*outs, batch_img_metas=[META], rescale=True)[0]
    reported = reported[reported.scores >= 0.1]
    assert len(kept.scores) == len(reported) > 3
    torch.testing.assert_close(kept.scores, reported.scores.sort(descending=True).values)

    logits = rows(outs[0], head.cls_out_channels)[kept.priors]
    if name == "ssd":
        scores = logits.softmax(-1)[torch.arange(len(logits)), kept.labels]
    else:
        scores = logits[torch.arange(len(logits)), kept.labels].sigmoid()
    expected_logits = logits[torch.arange(len(logits)), kept.labels]
    if name in FACTOR_HEADS:
        factors = rows(outs[2], 1)[kept.priors, 0]
        scores, expected_logits = scores * factors.sigmoid(), expected_logits + factors
    torch.testing.assert_close(scores, kept.scores, rtol=0, atol=1e-6)
    assert torch.equal(kept.logits, expected_logits)


@pytest.mark.parametrize("name", ["ssd", "retinanet"])
def test_traced_prior_decodes_to_the_kept_box(detector, name):
    head, outs = head_and_outs(detector, name)
    kept = trace_kept_boxes(head, outs, META, score_thr=0.1)
    priors = torch.cat(head.prior_generator.grid_priors([level.shape[-2:] for level in outs[0]], device="cpu"))
    boxes = head.bbox_coder.decode(priors, rows(outs[1], 4), max_shape=META["img_shape"])
    torch.testing.assert_close(boxes[kept.priors] / torch.tensor([1.0, 2.0, 1.0, 2.0]), kept.boxes_xyxy)
    torch.testing.assert_close(decode_priors(head, outs, META)[kept.priors], kept.boxes_xyxy)
    counts = [level.shape[1] // head.cls_out_channels * level.shape[2] * level.shape[3] for level in outs[0]]
    starts = torch.tensor([0, counts[0], counts[0] + counts[1]])
    assert (kept.priors >= starts[kept.levels]).all()
    assert len(set(kept.levels.tolist())) > 1


@pytest.mark.parametrize("name", ["ssd", "fcos"])
def test_logit_against_the_background(detector, name):
    head, outs = head_and_outs(detector, name)
    plain = trace_kept_boxes(head, outs, META, score_thr=0.1)
    margin = trace_kept_boxes(head, outs, META, score_thr=0.1, against_background=True)
    assert torch.equal(margin.priors, plain.priors)
    if name == "ssd":
        background = rows(outs[0], 3)[margin.priors, 2]
        assert torch.equal(margin.logits, plain.logits - background)
    else:  # a sigmoid knows no background
        assert torch.equal(margin.logits, plain.logits)


def test_boxes_clipped_to_the_same_one_are_told_apart_by_score(detector):
    head, outs = head_and_outs(detector, "retinanet")
    with torch.no_grad():
        for level in outs[1]:
            level[:] = 20.0  # every box grows over the whole image, so all priors have the same box
            level[:, 0::4] = level[:, 1::4] = 0
    kept = trace_kept_boxes(head, outs, dict(META, img_shape=(8, 8)), score_thr=0.0)
    assert len(torch.unique(kept.boxes_xyxy, dim=0)) == 1
    all_scores = rows(outs[0], 2).sigmoid()
    for label in range(2):  # NMS leaves the best prior of each class
        assert kept.priors[kept.labels == label].tolist() == [int(all_scores[:, label].argmax())]


def test_soft_nms_lowers_scores_but_not_the_trace(detector, monkeypatch):
    head, outs = head_and_outs(detector, "retinanet", nms=dict(type="soft_nms", iou_threshold=0.3))

    def halve_scores(boxes, scores, labels, cfg):
        return torch.cat([boxes, scores[:, None] / 2], dim=1), torch.arange(len(boxes))

    # mmcv's own soft_nms needs the compiled op; what matters here is that scores come out lower.
    monkeypatch.setattr("mmdet.models.dense_heads.base_dense_head.batched_nms", halve_scores)
    kept = trace_kept_boxes(head, outs, META, score_thr=0.2)
    assert len(kept.scores) > 3
    torch.testing.assert_close(kept.logits.sigmoid() / 2, kept.scores)


def test_no_kept_box_is_an_empty_trace(detector):
    head, outs = head_and_outs(detector, "ssd")
    kept = trace_kept_boxes(head, outs, META, score_thr=1.1)
    assert kept.boxes_xyxy.shape == (0, 4)
    assert kept.logits.shape == (0,)


def test_one_threshold_a_class(detector):
    head, outs = head_and_outs(detector, "retinanet")
    both = trace_kept_boxes(head, outs, META, score_thr=0.1)
    one = trace_kept_boxes(head, outs, META, score_thr=(1.1, 0.1))
    assert 0 < len(one.labels) == int((both.labels == 1).sum()) < len(both.labels)
    with pytest.raises(ValueError, match="one for each of 2 classes"):
        trace_kept_boxes(head, outs, META, score_thr=(0.1, 0.2, 0.3))


def test_probabilities_of_tood_are_turned_into_logits():
    init_default_scope("mmdet")
    head = MODELS.build(
        dict(
            type="TOODHead",
            num_classes=2,
            in_channels=16,
            feat_channels=32,
            stacked_convs=2,
            num_dcn=0,
            anchor_generator=dict(
                type="AnchorGenerator", ratios=[1.0], octave_base_scale=4, scales_per_octave=1, strides=[8]
            ),
            test_cfg=ConfigDict(nms_pre=500, score_thr=0.02, nms=dict(type="nms", iou_threshold=0.5), max_per_img=50),
        )
    )
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(1, 2, 6, 6, generator=generator)
    boxes = torch.rand(1, 4, 6, 6, generator=generator) + torch.tensor([0.0, 0, 1, 1])[None, :, None, None]
    kept = trace_kept_boxes(head, ([probabilities], [boxes]), META, score_thr=0.5)
    assert len(kept.scores) > 3
    torch.testing.assert_close(kept.logits, torch.logit(kept.scores))
    assert torch.equal(rows([probabilities], 2)[kept.priors, kept.labels], kept.scores)


def test_yolov3_adds_objectness_to_the_class_logit():
    init_default_scope("mmdet")
    head = MODELS.build(
        dict(
            type="YOLOV3Head",
            num_classes=2,
            in_channels=[8, 8],
            out_channels=[8, 8],
            anchor_generator=dict(
                type="YOLOAnchorGenerator", base_sizes=[[(30, 40), (60, 60)], [(10, 12), (14, 10)]], strides=[32, 16]
            ),
            featmap_strides=[32, 16],
            test_cfg=ConfigDict(
                nms_pre=500, score_thr=0.02, conf_thr=0.005, nms=dict(type="nms", iou_threshold=0.5), max_per_img=50
            ),
        )
    )
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 2 * 7, size, size, generator=generator) for size in (3, 6)]
    kept = trace_kept_boxes(head, (maps,), META, score_thr=0.2)
    traced = rows(maps, 7)[kept.priors]
    class_logits = traced[torch.arange(len(traced)), 5 + kept.labels]
    assert len(kept.scores) > 3
    torch.testing.assert_close(class_logits.sigmoid() * traced[:, 4].sigmoid(), kept.scores)
    assert torch.equal(kept.logits, class_logits + traced[:, 4])


def test_outputs_are_not_changed_and_keep_their_gradient(detector):
    head, outs = head_and_outs(detector, "retinanet")
    before = [level.detach().clone() for levels in outs for level in levels]
    kept = trace_kept_boxes(head, outs, META, score_thr=0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, [m for levels in outs for m in levels], strict=True))
    gradients = torch.autograd.grad(kept.logits.sum(), outs[0])
    assert float(sum(gradient.sum() for gradient in gradients)) == len(kept.logits)


def test_boxes_that_belong_to_no_prior_are_refused(detector):
    head, outs = head_and_outs(detector, "retinanet")
    plain = head.predict_by_feat

    def moved(*args, **kwargs):
        results = plain(*args, **kwargs)
        if kwargs.get("with_nms", True):
            results[0].bboxes = results[0].bboxes + 3
        return results

    head.predict_by_feat = moved
    # A wrapper hides the signature that check_head looks at.
    moved.__signature__ = inspect.signature(plain)
    with pytest.raises(ConfigError, match="RetinaHead: the box .* is not that of any prior"):
        trace_kept_boxes(head, outs, META, score_thr=0.1)


def test_heads_without_a_logit_for_each_box_are_named():
    init_default_scope("mmdet")
    library_ssd = MODELS.build(
        dict(
            type="SSDHead",
            num_classes=2,
            in_channels=(16,),
            anchor_generator=dict(type="SSDAnchorGenerator", strides=[8], ratios=[[2]], min_sizes=[16], max_sizes=[40]),
        )
    )
    with pytest.raises(ConfigError, match="use ctc_mm.CTCSSDHead"):
        check_head(library_ssd)
    keypoints = MODELS.build(dict(type="CenterNetHead", in_channels=8, feat_channels=8, num_classes=2))
    with pytest.raises(ConfigError, match="CenterNetHead is not a dense head"):
        check_head(keypoints)
    with pytest.raises(ConfigError, match="Linear is not a dense head"):
        check_head(torch.nn.Linear(1, 1))


def test_levels_of_priors_follow_the_maps(detector):
    head, outs = head_and_outs(detector, "ssd")
    levels = read_outputs(head, outs).levels
    # 4, 6 and 4 anchors a cell
    assert torch.bincount(levels).tolist() == [12 * 12 * 4, 6 * 6 * 6, 3 * 3 * 4]
