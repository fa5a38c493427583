import csv
import json
import math
import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from random_sets import random_set

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.operating_point import published_operating_point
from ctc_mm.registry import METRICS

META = {"classes": ("CTC", "WBC")}
A, B, STRAY = [0, 0, 10, 10], [20, 0, 30, 10], [70, 70, 80, 80]


@pytest.fixture(autouse=True)
def _own_message_hub(request):
    MessageHub.get_instance(request.node.name)  # the latest one is the current one


def instances(boxes=(), labels=None, scores=None):
    data = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([0] * len(boxes) if labels is None else labels, dtype=torch.int64),
    )
    if scores is not None:
        data.scores = torch.tensor(scores, dtype=torch.float32)
    return data


def sample(boxes=(), scores=(), labels=None, truth=(), truth_labels=None, ignore=(), ignore_labels=None):
    found = DetDataSample(metainfo={"img_id": 1, "img_path": "a.png", "ori_shape": (100, 100)})
    found.pred_instances = instances(boxes, labels, list(scores))
    found.gt_instances = instances(truth, truth_labels)
    found.ignored_instances = instances(ignore, ignore_labels)
    return found


def evaluate(samples, meta=META, **options):
    evaluator = Evaluator({"type": "ctc_mm.CTCDetMetric", **options})
    evaluator.dataset_meta = meta
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


SET = [
    sample([A, STRAY, B], [0.9, 0.8, 0.3], truth=[A, B]),
    sample([B, STRAY], [0.7, 0.6], labels=[1, 1], truth=[B], truth_labels=[1]),
    sample([STRAY, A, B], [0.6, 0.55, 0.4], labels=[0, 1, 0], ignore=[A], ignore_labels=[1]),
]


def test_empty_truth_and_empty_prediction(caplog):
    from mmengine.logging import MMLogger

    MMLogger.get_instance("empty").addHandler(caplog.handler)
    values = evaluate([sample()])
    assert "no true cell in these images" in caplog.text
    assert math.isnan(values["ctc/mAP50"])
    assert math.isnan(values["ctc/mAP"])
    assert (values["ctc/precision@0.5"], values["ctc/recall@0.5"], values["ctc/f1@0.5"]) == (1, 1, 1)
    assert values["ctc/fp_per_blank_image"] == 0
    assert published_operating_point() is None


def test_values_by_hand():
    values = evaluate(SET)
    # CTC: hit 0.9, wrong 0.8, wrong 0.6 (blank), wrong 0.4 (blank), hit 0.3; two truths.
    assert values["ctc/AP50_CTC"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 5)
    assert values["ctc/AP50_WBC"] == pytest.approx(1.0)
    assert values["ctc/mAP50"] == pytest.approx((0.7 + 1.0) / 2)
    assert (values["ctc/precision_CTC"], values["ctc/recall_CTC"]) == pytest.approx((1 / 3, 1 / 2))
    assert (values["ctc/precision_WBC"], values["ctc/recall_WBC"]) == pytest.approx((1 / 2, 1))
    # Pooled at 0.5: CTC 1 hit 2 wrong 1 missed; WBC 1 hit 1 wrong (the one in the ignore region counts neither way).
    assert values["ctc/precision@0.5"] == pytest.approx(2 / 5)
    assert values["ctc/recall@0.5"] == pytest.approx(2 / 3)
    assert values["ctc/f1@0.5"] == pytest.approx(4 / 8)
    assert values["ctc/best_f1_CTC"] == pytest.approx(2 / 3)
    assert values["ctc/best_f1_score_thr"] == float(np.float32(0.9))
    assert (values["ctc/fp_per_blank_image"], values["ctc/fp_per_blank_image_WBC"]) == (1, 0)
    assert values["ctc/coco_AP50"] == pytest.approx(((51 + 50 * 2 / 5) / 101 + 1) / 2)
    assert all(isinstance(value, float) for value in values.values())


def test_validation_publishes_the_point_and_a_test_applies_it_unchanged():
    evaluate(SET)
    point = published_operating_point()
    assert point["thresholds"] == {"CTC": float(np.float32(0.9)), "WBC": float(np.float32(0.7))}
    assert (point["target"], point["n_images"]) == ("CTC", 3)
    other = [sample([A, STRAY, B], [0.95, 0.92, 0.91], truth=[A, B]), sample([B], [0.89])]
    values = evaluate(other, operating_point=ConfigDict(point))
    assert values["ctc/score_thr_CTC@frozen"] == point["thresholds"]["CTC"]
    assert values["ctc/precision_CTC@frozen"] == pytest.approx(2 / 3)
    assert (values["ctc/recall_CTC@frozen"], values["ctc/f1_CTC@frozen"]) == pytest.approx((1, 4 / 5))
    assert values["ctc/fp_per_blank_image_CTC@frozen"] == 0
    assert published_operating_point() == point  # applying chooses nothing


def test_target_comes_from_the_data_set():
    meta = {**META, "target": "WBC"}
    values = evaluate(SET, meta)
    assert values["ctc/best_f1_score_thr"] == float(np.float32(0.7))
    assert published_operating_point()["target"] == "WBC"


def test_without_a_point_nothing_is_published():
    evaluate(SET, operating_point=None)
    assert published_operating_point() is None


def test_files_hold_counts_and_are_the_same_twice(tmp_path):
    for name in ("one", "two"):
        values = evaluate(SET, out_dir=tmp_path / name, max_per_img=3)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["metrics.json", "pr_CTC.csv", "pr_WBC.csv", "pr_curve.png"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    content = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert (content["images"], content["blank_images"], content["target"]) == (3, 1, "CTC")
    assert content["images_area_px"] == 3 * 100 * 100
    ctc = content["per_class"]["CTC"]["at_score_thr"]
    assert (ctc["TP"], ctc["FP"], ctc["FN"]) == (1, 2, 1)
    assert all(type(ctc[key]) is int for key in ("TP", "FP", "FN"))
    assert ctc["on_blank_images"] == {"FP": 1, "blank_images": 1, "FP_per_blank_image": 1.0}
    assert content["per_class"]["WBC"]["predictions_in_ignore_regions"] == 1
    assert content["per_class"]["CTC"]["at_best_f1_of_these_images"]["TP"] == 1
    assert list(content["per_class"]["CTC"]["per_iou_at_score_thr"])[::9] == ["0.50", "0.95"]
    assert content["per_class"]["CTC"]["per_iou_at_score_thr"]["0.95"]["TP"] == 1
    assert content["truncation"] == {
        "max_per_img": 3,
        "images_at_limit": 2,
        "cut_below_score": pytest.approx(0.4),
    }
    assert content["operating_point"] == published_operating_point()
    assert content["operating_point_source"] == "chosen on these images"
    assert content["coco"]["ap_large"] is None
    assert content["values"]["mAP50"] == values["ctc/mAP50"]
    rows = list(csv.DictReader((tmp_path / "one" / "pr_CTC.csv").open()))
    assert [(row["tp"], row["fp"], row["fn"]) for row in rows] == [
        ("1", "0", "1"), ("1", "1", "1"), ("1", "2", "1"), ("1", "3", "1"), ("2", "3", "0"),
    ]  # fmt: skip
    assert float(rows[0]["score"]) == float(np.float32(0.9))
    assert (tmp_path / "one" / "pr_curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_frozen_point_in_the_files_and_without_prediction(tmp_path):
    evaluate(SET)
    point = published_operating_point()
    evaluate([sample()], out_dir=tmp_path, operating_point=point)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["operating_point_source"] == "chosen before, applied unchanged"
    assert content["per_class"]["CTC"]["at_frozen_thr"]["score_thr"] == point["thresholds"]["CTC"]
    assert content["per_class"]["CTC"]["AP"] is None
    assert (tmp_path / "pr_CTC.csv").read_text() == "score,precision,recall,f1,tp,fp,fn\n"


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        (dict(score_thr=0.35), True),  # the images at the limit end at scores 0.3 and 0.4
        (dict(score_thr=0.5), False),  # nothing that 0.5 lets through was cut
        (dict(max_per_img=4, score_thr=0.1), False),
    ],
    ids=["reaches_the_threshold", "below_it", "no_image_at_the_limit"],
)
def test_cut_dense_field_warns_where_cells_are_lost(caplog, options, warns):
    from mmengine.logging import MMLogger

    MMLogger.get_instance("limit").addHandler(caplog.handler)
    evaluate(SET, **{"max_per_img": 3, **options})
    assert ("2 of 3 images hold 3 predictions" in caplog.text) == warns


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_box_types_are_read(dtype):
    one = sample([A], [0.9], truth=[A])
    one.pred_instances.bboxes, one.pred_instances.scores = (
        one.pred_instances.bboxes.to(dtype),
        one.pred_instances.scores.to(dtype),
    )
    one.gt_instances.bboxes = HorizontalBoxes(one.gt_instances.bboxes)
    assert evaluate([one])["ctc/AP50_CTC"] == 1.0


def packed(*steps):
    """A DetDataSample as a test pipeline packs it, from an image of 40 x 80 (h, w) resized to half."""
    register_all_modules(init_default_scope=False)
    results = {
        "img": np.zeros((40, 80, 3), np.uint8),
        "img_shape": (40, 80),
        "ori_shape": (40, 80),
        "img_id": 7,
        "img_path": "field.png",
        "instances": [
            {"bbox": [60, 20, 80, 40], "bbox_label": 0, "ignore_flag": 0},
            {"bbox": [0, 0, 20, 20], "bbox_label": 0, "ignore_flag": 1},
        ],
    }
    for step in (*steps, {"type": "PackDetInputs"}):
        results = TRANSFORMS.build(step)(results)
    found = results["data_samples"]
    found.pred_instances = instances([[60, 20, 80, 40], [0, 0, 20, 20]], scores=[0.9, 0.8])
    return found


RESIZE = {"type": "Resize", "scale": (160, 80), "keep_ratio": True}
LOAD = {"type": "LoadAnnotations", "with_bbox": True}


def test_truth_packed_after_the_resize_is_in_original_pixels():
    values = evaluate([packed(RESIZE, LOAD)])
    assert (values["ctc/AP50_CTC"], values["ctc/precision_CTC"]) == (1.0, 1.0)


def test_boxes_beyond_the_image_are_compared_by_what_lies_inside():
    cell = [90, 90, 100, 100]
    values = evaluate([sample([[90, 90, 130, 130], [-20, -20, 10, 10]], [0.9, 0.8], truth=[cell, A])])
    assert (values["ctc/AP50_CTC"], values["ctc/precision_CTC"]) == (1.0, 1.0)


def test_pipeline_without_annotations_is_told_what_to_add():
    with pytest.raises(ConfigError, match=r"field.png.*no truth. Put `dict\(type='LoadAnnotations'.*AFTER the resize"):
        evaluate([packed(RESIZE)])


def test_truth_that_was_resized_with_the_image_is_refused():
    with pytest.raises(ConfigError, match="field.png.*80 x 40 pixels.*AFTER the resize"):
        evaluate([packed(LOAD, RESIZE)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_thr": 0}, "`iou_thr` must lie in"),
        ({"score_thr": 1.5}, "`score_thr` must lie in"),
        ({"max_per_img": 0}, "`max_per_img` must be at least 1"),
        ({"operating_point": "best"}, "`operating_point` must be 'auto', None or a point"),
        ({"operating_point": {"threshold": 0.4}}, "has the keys"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        METRICS.build({"type": "ctc_mm.CTCDetMetric", **options})


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, "no `classes`"),
        ({"classes": ("CTC",), "target": "RBC"}, "target 'RBC' is none of"),
    ],
)
def test_meta_of_the_data_set_is_checked(meta, message):
    with pytest.raises(ConfigError, match=message):
        evaluate([sample()], meta)


def test_point_for_other_classes_is_refused():
    evaluate(SET)
    point = published_operating_point()
    with pytest.raises(ConfigError, match=r"chosen for the classes \['CTC', 'WBC'\]"):
        evaluate([sample()], {"classes": ("CTC",)}, operating_point=point)


def test_save_best_knows_that_more_is_better():
    assert CheckpointHook(save_best="ctc/mAP50").rules == ["greater"]


def test_many_random_images_equal_coco_metric_of_mmdet():
    from mmdet.evaluation import CocoMetric

    records = [image for seed in range(12) for image in random_set(seed)]
    samples, dicts = [], []
    for index, image in enumerate(records):
        one = sample(image.boxes_xyxy.tolist(), image.scores.tolist(), image.labels.tolist(), image.truth_xyxy.tolist(),
                     image.truth_labels.tolist(), image.ignore_xyxy.tolist(), image.ignore_labels.tolist())  # fmt: skip
        one.set_metainfo({"img_id": index, "ori_shape": (400, 400)})
        truth = [
            {"bbox": box.tolist(), "bbox_label": int(label), "ignore_flag": flag}
            for boxes, labels, flag in (
                (image.truth_xyxy, image.truth_labels, 0),
                (image.ignore_xyxy, image.ignore_labels, 1),
            )
            for box, label in zip(boxes, labels, strict=True)
        ]
        samples.append(one)
        dicts.append({**one.to_dict(), "instances": truth})
    theirs = CocoMetric(metric="bbox")
    theirs.dataset_meta = META
    theirs.process({}, dicts)
    reference = theirs.evaluate(len(dicts))
    mine = evaluate(samples)
    for key, name in (("mAP", "bbox_mAP"), ("coco_AP50", "bbox_mAP_50"), ("coco_APs", "bbox_mAP_s")):
        assert round(mine[f"ctc/{key}"], 3) == pytest.approx(reference[f"coco/{name}"], abs=1e-9)


def test_one_class_labelling_reports_that_class_alone():
    values = evaluate([sample([A, STRAY], [0.9, 0.95], truth=[A])], {"classes": ("CTC",)})
    assert values["ctc/mAP50"] == values["ctc/AP50_CTC"] == 0.5
    assert (values["ctc/precision@0.5"], values["ctc/precision_CTC"]) == (0.5, 0.5)
    assert not any("WBC" in key for key in values)


def test_kept_results_travel_between_processes():
    metric = METRICS.build({"type": "ctc_mm.CTCDetMetric"})
    metric.dataset_meta = META
    metric.process({}, [one.to_dict() for one in SET])
    sent = pickle.loads(pickle.dumps(metric.results))
    assert not any(isinstance(value, torch.Tensor) for one in sent for value in vars(one).values())
    expected = {key.removeprefix("ctc/"): value for key, value in evaluate(SET).items()}
    assert metric.compute_metrics(sent) == pytest.approx(expected, nan_ok=True)
