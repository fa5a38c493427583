"""What is found without a model: unlabelled boxes among finds, and labels that cannot be right."""

import numpy as np
import pytest

from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.engine.label_cleaning.finds import agreed_boxes, is_unlabelled
from ctc_mm.engine.label_cleaning.problems import find_problems
from ctc_mm.formats.fields import JsonField


def window(*boxes, score=0.9, label=0):
    count = len(boxes)
    labels = np.full(count, label, np.int64)
    return WindowDetections(np.array(boxes, np.float32).reshape(-1, 4), np.full(count, score, np.float32), labels)


def coco(annotations, size=(100, 80)):
    image = dict(id=7, file_name="a.png", width=size[0], height=size[1])
    records = [
        dict(id=number, image_id=7, category_id=category, bbox=bbox, area=bbox[2] * bbox[3], iscrowd=crowd)
        for number, (category, bbox, crowd) in enumerate(annotations, 1)
    ]
    categories = [dict(id=1, name="CTC"), dict(id=2, name="WBC")]
    return JsonField(dict(images=[image], annotations=records, categories=categories), "labels.json")


def test_no_models_agree_on_nothing():
    boxes, models = agreed_boxes([window(), window()], 1)
    assert boxes.boxes_xyxy.shape == (0, 4)
    assert models.tolist() == []


def test_boxes_of_several_models_are_told_once():
    found = [
        window([0, 0, 10, 10], [50, 50, 60, 60]),
        window([1, 0, 11, 10], score=0.95),
        window([0, 0, 10, 10], label=1),
    ]
    boxes, models = agreed_boxes(found, 1)
    # The surest model's box stands for both; another class at the same place is another find.
    assert boxes.boxes_xyxy.tolist() == [[1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 10, 10]]
    assert boxes.labels.tolist() == [0, 0, 1]
    assert models.tolist() == [2, 1, 1]
    boxes, models = agreed_boxes(found, 2)
    assert boxes.boxes_xyxy.tolist() == [[1, 0, 11, 10]]
    # Two boxes of one model at one place are one vote.
    assert agreed_boxes([window([0, 0, 10, 10], [1, 0, 11, 10])], 2)[1].tolist() == []


def test_what_a_label_or_an_ignore_region_covers_is_no_find():
    labels, ignored = np.array([[0.0, 0, 10, 10]]), np.array([[40.0, 40, 60, 60]])
    boxes = np.array(
        [
            [5, 0, 15, 10],  # IoU 1/3 with the label
            [8, 0, 18, 10],  # IoU 1/9
            [2, 2, 6, 6],  # inside the label
            [45, 45, 65, 65],  # more than half in the ignore region
            [52, 40, 72, 60],  # less than half
        ],
        float,
    )
    assert is_unlabelled(boxes, labels, ignored, 0.3).tolist() == [False, True, False, False, True]
    assert is_unlabelled(boxes, labels, ignored, 0.4).tolist()[0] is False  # half of it lies in the label
    assert is_unlabelled(boxes, np.empty((0, 4)), np.empty((0, 4)), 0.3).all()


def test_problems_of_an_empty_file():
    problems = find_problems(coco([]))
    assert [(one.kind, one.annotation_id, one.is_removed) for one in problems] == [
        ("image without any box", None, False)
    ]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([(1, [0, 0, 0.5, 9], 0)], [("box under 1 px", 1, True)]),
        ([(1, [200, 0, 9, 9], 0)], [("box outside the image", 1, True)]),
        ([(1, [95, 0, 9, 9], 0)], [("box leaves the image", 1, False)]),
        ([(1, [0, 0, 20, 20], 0), (1, [0, 0, 20, 19], 0)], [("box labelled twice", 2, True)]),
        ([(1, [0, 0, 20, 20], 0), (2, [0, 0, 20, 19], 0)], [("two classes at one place", 2, False)]),
        ([(1, [0, 0, 20, 20], 0), (1, [0, 0, 20, 20], 0), (1, [0, 0, 20, 20], 0)],
         [("box labelled twice", 2, True), ("box labelled twice", 3, True)]),
        ([(1, [0, 0, 20, 20], 0), (1, [0, 0, 20, 20], 1)], []),
        ([(1, [0, 0, 20, 20], 0), (1, [4, 0, 20, 20], 0)], []),
    ],
    ids=["no_area", "outside", "leaves", "twice", "two_classes", "three_times", "ignore_region", "neighbours"],
)  # fmt: skip
def test_problems(annotations, expected):
    assert [(one.kind, one.annotation_id, one.is_removed) for one in find_problems(coco(annotations))] == expected
