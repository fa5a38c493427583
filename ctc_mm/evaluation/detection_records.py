"""Predictions and truth of every tested image in one file, so that tests can be compared image by image later."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from ctc_mm.errors import AnnotationError
from ctc_mm.evaluation.functional import ImageRecord
from ctc_mm.formats.files import atomic_path

RECORDS_FILE = "detections.npz"
FORMAT = "ctc_mm detections 1"
# Arrays of an image that differ in length from one image to the next, and how the counts of each are called.
RAGGED = {
    "boxes_xyxy": "predictions", "scores": "predictions", "labels": "predictions",
    "truth_xyxy": "truth", "truth_labels": "truth", "ignore_xyxy": "ignored", "ignore_labels": "ignored",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class DetectionRecords:
    """The images of a test.

    Attributes:
        images: in the order of the data set.
        groups: patient or slide of each; '' where the data do not say.
        classes: names by label.
    """

    images: tuple[ImageRecord, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    def sorted_by_place(self) -> DetectionRecords:
        """The images by name, which becomes the path below the folder that holds all of them."""
        names = [image.name for image in self.images]
        root = os.path.commonpath([str(PurePath(name).parent) for name in names]) if all(names) else ""
        below = [PurePath(os.path.relpath(name, root)).as_posix() if root else name for name in names]
        order = sorted(range(len(names)), key=lambda index: below[index])
        images = tuple(replace(self.images[index], name=below[index]) for index in order)
        return DetectionRecords(images, tuple(self.groups[index] for index in order), self.classes)


def write_records(path: str | Path, records: DetectionRecords) -> None:
    """Write a compressed ``.npz``: names, groups, sizes, and all boxes end to end; same records, same bytes."""
    images = records.images
    arrays = {name: _joined([getattr(one, name) for one in images], name) for name in RAGGED}
    counts = {
        "n_predictions": [len(one.scores) for one in images],
        "n_truth": [len(one.truth_labels) for one in images],
        "n_ignored": [len(one.ignore_labels) for one in images],
    }
    area_px = [-1 if one.area_px is None else one.area_px for one in images]
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            format=np.array(FORMAT),
            classes=np.array(records.classes, np.str_),
            names=np.array([one.name for one in images], np.str_),
            groups=np.array(records.groups, np.str_),
            area_px=np.array(area_px, np.int64),
            **{name: np.array(values, np.int64) for name, values in counts.items()},
            **arrays,
        )


def read_records(path: str | Path) -> DetectionRecords:
    """Read what ``write_records`` wrote.

    Raises:
        AnnotationError: the file is missing, damaged, or no such file.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            content = dict(file)
        if str(content["format"]) != FORMAT:
            raise ValueError(f"its format is {content['format']}, this version reads {FORMAT!r}")
        splits = {
            name: np.split(content[name], np.cumsum(content[f"n_{counted}"])[:-1]) for name, counted in RAGGED.items()
        }
        images = tuple(
            ImageRecord(
                **{name: parts[index] for name, parts in splits.items()},
                name=str(name),
                area_px=None if content["area_px"][index] < 0 else int(content["area_px"][index]),
            )
            for index, name in enumerate(content["names"])
        )
        groups, classes = (tuple(map(str, content[name])) for name in ("groups", "classes"))
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise AnnotationError(
            f"{path}: cannot be read as the predictions of a test ({error}); delete the `done.json` beside its folder "
            "and run again to have it tested again"
        ) from error
    return DetectionRecords(images, groups, classes)


def _joined(parts: Sequence[np.ndarray], name: str) -> np.ndarray:
    width = (4,) if name.endswith("xyxy") else ()
    kind = np.int64 if name.endswith("labels") else np.float32
    return np.concatenate([np.empty((0, *width), kind), *(np.asarray(part, kind) for part in parts)])
