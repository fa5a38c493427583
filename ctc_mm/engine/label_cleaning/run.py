"""Labels of a split looked over by trained models, and written anew with what they miss left undecided."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.engine.label_cleaning.finds import Find, agreed_boxes, is_unlabelled
from ctc_mm.engine.label_cleaning.judges import Judge, detect, images_of, label_file
from ctc_mm.engine.label_cleaning.problems import LabelProblem, boxes_by_image, boxes_xyxy, find_problems
from ctc_mm.errors import ConfigError, LeakError
from ctc_mm.formats.fields import load_json_object
from ctc_mm.formats.files import write_json

IGNORE, CELL = "ignore", "cell"
SPLITS = ("train", "val")
DECIMALS = 2  # of a pixel
SHOWN = 8


@dataclass(frozen=True)
class CleaningOptions:
    """How sure models must be, and what becomes of their finds.

    Attributes:
        split: ``train`` or ``val``; a test set is never cleaned.
        score: from which a model's box counts, 0 to 1.
        agree: models that must find the same cell; None: more than half of those that judge the image.
        free_iou: a box that overlaps a label by so much is a find of that cell.
        write_as: ``ignore`` (neither cell nor background: COCO's ``iscrowd``) or ``cell`` (a label like any other).

    Raises:
        ConfigError: a value out of range.
    """

    split: str = "train"
    score: float = 0.5
    agree: int | None = None
    free_iou: float = 0.3
    write_as: str = IGNORE

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(
                f"labels of {' or '.join(SPLITS)} can be cleaned, and no others: figures on a test set that its own "
                f"models have changed say nothing. Received: {self.split!r}"
            )
        if not (0 < self.score <= 1 and 0 < self.free_iou <= 1):
            raise ConfigError(f"score and free_iou must be above 0, at most 1. Received: {self.score}, {self.free_iou}")
        if self.agree is not None and self.agree < 1:
            raise ConfigError(f"agree must be 1 or more. Received: {self.agree}")
        if self.write_as not in (IGNORE, CELL):
            raise ConfigError(f"finds are written as {IGNORE!r} or {CELL!r}. Received: {self.write_as!r}")


@dataclass(frozen=True)
class CleaningReport:
    """What was looked at, found and changed.

    Attributes:
        options: as given.
        labels: the file that was cleaned.
        images_dir: that its file names are relative to.
        judges: names of the models.
        seen: whether the models may have been trained on these images.
        images: of the file.
        not_judged: images that no model, or too few, had a say on.
        finds: cells without a label, by image and score.
        outside: boxes of models that lie outside of their image, and are no finds.
        problems: boxes that cannot be right.
    """

    options: CleaningOptions
    labels: Path
    images_dir: Path
    judges: tuple[str, ...]
    seen: bool
    images: int
    not_judged: tuple[str, ...]
    finds: tuple[Find, ...]
    outside: int = 0
    problems: tuple[LabelProblem, ...] = field(default=())

    @property
    def finds_by_class(self) -> dict[str, int]:
        """Number of finds of each class that has any."""
        return dict(sorted(Counter(find.class_name for find in self.finds).items()))

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same labels and models."""
        return {
            "split": self.options.split,
            "score": self.options.score,
            "agree": self.options.agree,
            "free_iou": self.options.free_iou,
            "written_as": self.options.write_as,
            "judges": list(self.judges),
            "judges_may_have_trained_on_these_images": self.seen,
            "images": self.images,
            "images_not_judged": list(self.not_judged),
            "finds_by_class": self.finds_by_class,
            "boxes_outside_the_image": self.outside,
            "finds": [
                {
                    "file_name": find.file_name,
                    "box_xyxy": list(find.box_xyxy),
                    "class": find.class_name,
                    "score": round(find.score, 4),
                    "models": find.models,
                    "judges": find.judges,
                }
                for find in self.finds
            ],
            "problems": [{"kind": one.kind, "place": one.place, "removed": one.is_removed} for one in self.problems],
        }

    def __str__(self) -> str:
        """Give the report as lines for a terminal."""
        classes = ", ".join(f"{name} {count}" for name, count in self.finds_by_class.items()) or "none"
        fields_found = Counter(find.file_name for find in self.finds)
        most = ", ".join(f"{name} {count}" for name, count in fields_found.most_common(SHOWN))
        lines = [
            f"labels: {self.labels}, {self.images} images; judged by {len(self.judges)} models",
            f"cells that no label marks: {len(self.finds)} ({classes}) in {len(fields_found)} images",
        ]
        lines += [f"  most in: {most}"] if most else []
        if self.not_judged:
            lines.append(f"images that too few models judged: {len(self.not_judged)} ({_few(self.not_judged)})")
        if self.outside:
            lines.append(f"boxes of models outside of the image, left out: {self.outside}")
        if self.seen:
            lines.append(
                "The models may have been trained on these images, and so have learned what the labels miss: they find "
                "less than models of other folds would (--folds)."
            )
        kinds: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for one in self.problems:
            kinds[one.kind, one.is_removed].append(one.place)
        for (kind, is_removed), places in sorted(kinds.items()):
            what = "left out" if is_removed else "left as it is, to be decided by a person"
            lines.append(f"{kind}: {len(places)}, {what} ({_few(places)})")
        return "\n".join(lines)


def _few(words: Sequence[str]) -> str:
    return "; ".join(words[:SHOWN]) + (f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def clean_labels(
    config: Config,
    judges: Sequence[Judge],
    out: str | Path,
    options: CleaningOptions | None = None,
    *,
    device: str = "cpu",
    trust: bool = False,
    track: Callable[[Sequence[Any], str], Iterable[Any]] = lambda items, description: items,
) -> CleaningReport:
    """Let trained models look over the labels of a split, and write them without what cannot be right.

    A cell that enough models find, and no label marks, becomes an ignore region: neither cell nor background, so that
    training does not teach to overlook it. Boxes without area, outside the image or labelled twice are left out. All
    else stays as it was, ids too.

    Args:
        config: names the labels; its test set must not share an image with them.
        judges: the models.
        out: COCO file to write; another than the labels.
        options: how sure models must be.
        device: on which they run.
        trust: load weights by pickle, which may run code in them.
        track: wraps the images, for a progress bar.

    Raises:
        AnnotationError, ImageReadError: labels or images cannot be read.
        LeakError: images of the split are in the test set, or a model has learned from the test set.
        ConfigError: no model, other classes than the labels', or ``out`` would overwrite the labels.
        CheckpointError: weights cannot be read.
    """
    options, out = options or CleaningOptions(), Path(out)
    labels, images_dir = label_file(config, options.split)
    if out.resolve() in {label_file(config, part)[0] for part in ("train", "val", "test")}:
        raise ConfigError(f"{out}: would overwrite labels of the config; write to another file")
    if not judges:
        raise ConfigError("no model to judge by; give weights, or the folder of a cross-validation (--folds)")
    root = load_json_object(labels)
    problems = find_problems(root)
    _refuse_test_images(config, options.split, judges)
    found = _judge(root.value, images_dir, judges, options, device, trust, track)
    finds, not_judged, outside = _finds(root.value, found, options)
    report = CleaningReport(
        options=options,
        labels=labels,
        images_dir=images_dir,
        judges=tuple(judge.name for judge in judges),
        seen=any(judge.unseen is None for judge in judges),
        images=len(root.value["images"]),
        not_judged=tuple(not_judged),
        finds=tuple(finds),
        outside=outside,
        problems=tuple(problems),
    )
    write_json(out, cleaned_content(root.value, report))
    return report


def _refuse_test_images(config: Config, part: str, judges: Sequence[Judge]) -> None:
    tested = set(images_of(config, "test"))
    if shared := set(images_of(config, part)) & tested:
        raise LeakError(f"{_named(shared)} of {part} are in the test set too, which is never cleaned")
    for judge in judges:
        if learned := judge.learned_from & tested:
            raise LeakError(
                f"{judge.name}: has learned from {_named(learned)} of the test set, and would hand on their labels to "
                "the training; cross-validate with --holdout test"
            )


def _named(images: Set[Path]) -> str:
    return f"{len(images)} images ({_few(sorted(path.name for path in images))})"


def _judge(
    content: Mapping[str, Any],
    images_dir: Path,
    judges: Sequence[Judge],
    options: CleaningOptions,
    device: str,
    trust: bool,
    track: Callable[[Sequence[Any], str], Iterable[Any]],
) -> dict[int, list[WindowDetections]]:
    """What each model finds in each image that it may judge, by the image's id; one model is loaded at a time."""
    names = [category["name"] for category in content["categories"]]
    found: dict[int, list[WindowDetections]] = {image["id"]: [] for image in content["images"]}
    for judge in judges:
        paths = {image["id"]: (images_dir / image["file_name"]).resolve() for image in content["images"]}
        images = [image for image in content["images"] if judge.judges(paths[image["id"]])]
        if not images:
            raise ConfigError(f"{judge.name}: none of the images of {options.split} is one that it never saw")
        trained = judge.load(device, trust)
        if list(trained.class_names) != names:
            raise ConfigError(f"{judge.name}: knows the classes {list(trained.class_names)}, the labels have {names}")
        for image in track(images, f"judging, {Path(judge.name).name}"):
            found[image["id"]].append(detect(trained, image, paths[image["id"]], options.score))
    return found


def _finds(
    content: Mapping[str, Any], found: Mapping[int, Sequence[WindowDetections]], options: CleaningOptions
) -> tuple[list[Find], list[str], int]:
    """Cells without a label, the images that too few models judged, and how many boxes lay outside of theirs."""
    of_image, names = boxes_by_image(content), [category["name"] for category in content["categories"]]
    finds: list[Find] = []
    not_judged, outside = [], 0
    for image in sorted(content["images"], key=lambda image: image["file_name"]):
        judged = found[image["id"]]
        needed = options.agree or len(judged) // 2 + 1
        if len(judged) < needed:
            not_judged.append(image["file_name"])
            continue
        crowds = [one for one in of_image[image["id"]] if one.get("iscrowd")]
        cells = [one for one in of_image[image["id"]] if not one.get("iscrowd")]
        boxes, models = agreed_boxes(judged, needed)
        free = is_unlabelled(boxes.boxes_xyxy, boxes_xyxy(cells), boxes_xyxy(crowds), options.free_iou)
        for index in np.flatnonzero(free).tolist():
            x0, y0, x1, y1 = np.round(boxes.boxes_xyxy[index], DECIMALS).tolist()
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(image["width"])), min(y1, float(image["height"])))
            if not (box[0] < box[2] and box[1] < box[3]):
                outside += 1
                continue
            name, score = names[int(boxes.labels[index])], float(boxes.scores[index])
            finds.append(Find(image["file_name"], box, name, score, int(models[index]), len(judged)))
    return finds, not_judged, outside


def cleaned_content(content: Mapping[str, Any], report: CleaningReport) -> dict[str, Any]:
    """COCO content without the boxes that cannot be right, and with the finds; nothing else is changed."""
    removed = {one.annotation_id for one in report.problems if one.is_removed}
    annotations = [one for one in content["annotations"] if one["id"] not in removed]
    category = {one["name"]: one["id"] for one in content["categories"]}
    image_id = {one["file_name"]: one["id"] for one in content["images"]}
    next_id = max((one["id"] for one in content["annotations"]), default=0) + 1
    for number, find in enumerate(report.finds, next_id):
        x0, y0, x1, y1 = find.box_xyxy
        width, height = round(x1 - x0, DECIMALS), round(y1 - y0, DECIMALS)
        annotations.append(
            {
                "id": number,
                "image_id": image_id[find.file_name],
                "category_id": category[find.class_name],
                "bbox": [x0, y0, width, height],
                "area": round(width * height, DECIMALS),
                "iscrowd": int(report.options.write_as == IGNORE),
                "segmentation": [],
                "score": round(find.score, 4),
            }
        )
    source = hashlib.sha256(report.labels.read_bytes()).hexdigest()
    cleaned = {"labels_sha256": source, "written_as": report.options.write_as, "finds": len(report.finds)}
    info = {**(content.get("info") or {}), "cleaned": {**cleaned, "boxes_left_out": len(removed)}}
    return {**content, "info": info, "annotations": annotations}
