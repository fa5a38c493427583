"""What a test keeps of each image: read back as it was written, the same bytes each time, damage told."""

import dataclasses

import numpy as np
import pytest
import torch
from random_sets import random_set, record

from ctc_mm.errors import AnnotationError, ConfigError
from ctc_mm.evaluation.detection_records import DetectionRecords, read_records, write_records
from ctc_mm.registry import METRICS

ARRAYS = ("boxes_xyxy", "scores", "labels", "truth_xyxy", "truth_labels", "ignore_xyxy", "ignore_labels")


def test_images_without_anything_come_back_empty(tmp_path):
    write_records(tmp_path / "none.npz", DetectionRecords((record(name="a.png"),), ("",), ("CTC",)))
    image = read_records(tmp_path / "none.npz").images[0]
    assert (image.boxes_xyxy.shape, image.truth_xyxy.shape, image.ignore_labels.shape) == ((0, 4), (0, 4), (0,))


@pytest.mark.parametrize("seed", range(3))
def test_records_come_back_as_they_were(tmp_path, seed):
    images = tuple(random_set(seed, ties=True)) + (dataclasses.replace(record(name="last"), area_px=12),)
    records = DetectionRecords(images, tuple(f"P{index}" for index in range(len(images))), ("CTC", "WBC"))
    for name in ("one.npz", "two.npz"):
        write_records(tmp_path / name, records)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_records(tmp_path / "one.npz")
    assert (back.groups, back.classes) == (records.groups, records.classes)
    for one, other in zip(images, back.images, strict=True):
        assert (one.name, one.area_px) == (other.name, other.area_px)
        for name in ARRAYS:
            assert np.array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


def test_places_do_not_tell_images_apart():
    images = tuple(record(scores=(score,), boxes=[[0, 0, 4, 4]], name=name) for score, name in (
        (0.5, "/there/data/b/1.png"), (0.25, "/there/data/a/2.png"),
    ))  # fmt: skip
    placed = DetectionRecords(images, ("P1", "P2"), ("CTC",)).sorted_by_place()
    assert [(one.name, float(one.scores[0])) for one in placed.images] == [("a/2.png", 0.25), ("b/1.png", 0.5)]
    assert placed.groups == ("P2", "P1")


@pytest.mark.parametrize("content", [None, b"", b"no archive"], ids=["missing", "empty", "other"])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "detections.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"detections.npz: cannot be read as the predictions of a test"):
        read_records(path)


def test_file_of_another_format_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", format=np.array("ctc_mm detections 0"))
    with pytest.raises(AnnotationError, match="its format is ctc_mm detections 0"):
        read_records(tmp_path / "x.npz")


def sample(name, score):
    boxes = torch.tensor([[1.0, 2.0, 11.0, 12.0]])
    label = torch.tensor([1])
    predicted = dict(bboxes=boxes + 1, scores=torch.tensor([score]), labels=label)
    return dict(img_path=name, ori_shape=(32, 48), group="P7", pred_instances=predicted,
                gt_instances=dict(bboxes=boxes, labels=label))  # fmt: skip


def test_metric_writes_predictions_and_truth_and_measures_nothing(tmp_path):
    metric = METRICS.build(dict(type="ctc_mm.DetectionRecordMetric", out_file=tmp_path / "out" / "detections.npz"))
    metric.dataset_meta = dict(classes=("CTC", "WBC"))
    metric.process(None, [sample("a.png", 0.75), sample("b.png", 0.5)])
    assert metric.evaluate(2) == {}
    records = read_records(tmp_path / "out" / "detections.npz")
    assert records.groups == ("P7", "P7")
    first = records.images[0]
    assert (first.name, first.area_px, first.scores.tolist()) == ("a.png", 32 * 48, [0.75])
    assert first.boxes_xyxy.tolist() == [[2.0, 3.0, 12.0, 13.0]]
    assert first.truth_labels.tolist() == [1]
    with pytest.raises(ConfigError, match="no image was tested"):
        metric.compute_metrics([])
