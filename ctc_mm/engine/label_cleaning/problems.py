"""Boxes of a COCO file that cannot be right, found without a model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.datasets.ctc_det_dataset import check_records, reason_to_drop
from ctc_mm.evaluation.functional.boxes import pairwise_iou
from ctc_mm.formats.fields import JsonField

# From this overlap on two boxes are two labels of one cell: real neighbours never lie so.
SAME_BOX_IOU = 0.9
EDGE_TOLERANCE_PX = 0.01
TWICE, TWO_CLASSES = "box labelled twice", "two classes at one place"
LEAVES_IMAGE, NO_CELL = "box leaves the image", "image without any box"


@dataclass(frozen=True)
class LabelProblem:
    """One thing wrong with the labels.

    Attributes:
        kind: what, in words; the same for all of a kind.
        file_name: of the image.
        annotation_id: of the box; None where the image itself is meant.
        is_removed: whether the cleaned file leaves the box out; else a person has to decide.
        words: details.
    """

    kind: str
    file_name: str
    annotation_id: int | None
    is_removed: bool
    words: str = ""

    @property
    def place(self) -> str:
        """Image, annotation and details, for a report."""
        annotation = "" if self.annotation_id is None else f" annotation {self.annotation_id}"
        return f"{self.file_name}{annotation}" + (f" {self.words}" if self.words else "")


def find_problems(root: JsonField) -> list[LabelProblem]:
    """Look through a COCO file for boxes that training drops, counts twice, or cannot tell apart.

    Args:
        root: the file's content.

    Returns:
        Problems by image in the file's order. Ignore regions may overlap anything.

    Raises:
        AnnotationError: a record lacks a key, or names an unknown image or category.
    """
    check_records(root)
    content = root.value
    of_image = boxes_by_image(content)
    names = {category["id"]: category["name"] for category in content["categories"]}
    problems: list[LabelProblem] = []
    for image in content["images"]:
        annotations = of_image[image["id"]]
        usable = []
        for annotation in annotations:
            problem = _of_one_box(annotation, image)
            problems += [] if problem is None else [problem]
            if problem is None or not problem.is_removed:
                usable.append(annotation)
        problems += _of_pairs([one for one in usable if not one.get("iscrowd")], image, names)
        if not annotations:
            problems.append(LabelProblem(NO_CELL, image["file_name"], None, is_removed=False))
    return problems


def boxes_by_image(content: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Annotations of each image by its id, an empty list for one without."""
    of_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    return of_image


def boxes_xyxy(annotations: list[dict[str, Any]]) -> np.ndarray:
    """Boxes of COCO annotations, float64 (N, 4), half-open pixels."""
    boxes = np.array([one["bbox"] for one in annotations], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _of_one_box(annotation: dict[str, Any], image: dict[str, Any]) -> LabelProblem | None:
    reason = reason_to_drop(annotation, image)
    words = f"x, y, width, height {annotation['bbox']}"
    if reason is not None:
        return LabelProblem(reason, image["file_name"], annotation["id"], is_removed=True, words=words)
    x0, y0, x1, y1 = boxes_xyxy([annotation])[0]
    beyond = max(-x0, -y0, x1 - image["width"], y1 - image["height"])
    if beyond > EDGE_TOLERANCE_PX:
        return LabelProblem(LEAVES_IMAGE, image["file_name"], annotation["id"], is_removed=False, words=words)
    return None


def _of_pairs(annotations: list[dict[str, Any]], image: dict[str, Any], names: dict[int, str]) -> list[LabelProblem]:
    """Boxes that repeat an earlier one; of three the two later ones are told."""
    boxes = boxes_xyxy(annotations)
    overlaps = np.triu(pairwise_iou(boxes, boxes), 1)
    problems, gone = [], set()
    for first, second in zip(*np.nonzero(overlaps >= SAME_BOX_IOU), strict=True):
        one, other = annotations[first], annotations[second]
        is_same = one["category_id"] == other["category_id"]
        if first in gone or second in gone:
            continue
        words = f"on annotation {one['id']} (IoU {overlaps[first, second]:.2f})"
        if is_same:
            gone.add(second)
        else:
            words += f": {names[one['category_id']]}, {names[other['category_id']]}"
        kind = TWICE if is_same else TWO_CLASSES
        problems.append(LabelProblem(kind, image["file_name"], other["id"], is_removed=is_same, words=words))
    return problems
