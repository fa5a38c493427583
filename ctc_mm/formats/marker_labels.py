"""Classes of bright-field cells from fluorescence images of the same fields (label-free-resnet-2020, Methods)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.labels import CTC, WBC
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under
from ctc_mm.formats.report import ConversionReport
from ctc_mm.imaging.cell_markers import count_unmatched, flatten_marker, marker_intensities, marker_threshold
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.registration import Shift, estimate_shift, shift_labels

# Field A may be A.tif in both folders, or A_BF.tif in one and A_DAPI.tif in the other.
_CHANNEL_WORD = re.compile(
    r"[ _.-]+(bf|bright[ _-]?field|trans(mitted)?|dapi|hoechst|fluo\w*|gfp|fitc|tritc|pe|cy\d|red|green|blue|caix)$",
    re.IGNORECASE,
)
# Brightest part of a marker image that the shift is not measured by.
_BRIGHTEST = 99.9

NO_MARKER = "field without marker image (its cells stay unlabelled)"
NO_SHIFT = "field whose shift against the marker shows too little to be measured (taken as 0)"
FAR_SHIFT = "field whose marker image lies implausibly far away (its cells stay unlabelled)"
NOT_SEEN = "cell that lies outside of the shifted marker image (unlabelled)"
SEVERAL = "cell stained by several markers (unlabelled, keep is false)"
UNSTAINED = "cell stained by no marker (unlabelled)"
UNMATCHED = "stained object where no cell was found"
EXTRA_MARKER = "marker image of no field"


@dataclass(frozen=True)
class MarkerOptions:
    """How cells get their classes.

    Attributes:
        folders: class -> folder of images in which this class is stained.
        negative: class of cells that no marker stains; None: unlabelled.
        threshold: grey values above the background from which a cell is stained; None: chosen in each field.
        most_shift_px: largest plausible shift between bright-field and marker.
        shift_xy: shift of the markers against the bright-field, where it is known; None: measured in each field.

    Raises:
        ValueError: no folder, or a number out of its range.
    """

    folders: Mapping[str, Path]
    negative: str | None = None
    threshold: float | None = None
    most_shift_px: float = 30.0
    shift_xy: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError("`folders` must name at least one class and its folder")
        if self.threshold is not None and not (np.isfinite(self.threshold) and self.threshold > 0):
            raise ValueError(f"`threshold` must be above 0. Received: {self.threshold!r}")
        if not (np.isfinite(self.most_shift_px) and self.most_shift_px >= 0):
            raise ValueError(f"`most_shift_px` must be at least 0. Received: {self.most_shift_px!r}")

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in order, CTC first."""
        names = [*self.folders, *([self.negative] if self.negative is not None else [])]
        return tuple(sorted(dict.fromkeys(names), key=lambda name: name != CTC))


@dataclass
class MarkerResult:
    """What the markers say of one field.

    Attributes:
        classes: label of a cell -> its class; cells that are not in it stay unlabelled.
        ambiguous: labels of cells that several markers stain.
        extra: label of a cell -> columns for ``cells.csv``: the brightness in each marker.
        record: class -> shift, its response, threshold and noise, for ``fields.json``.
    """

    classes: dict[int, str] = field(default_factory=dict)
    ambiguous: set[int] = field(default_factory=set)
    extra: dict[int, dict[str, float]] = field(default_factory=dict)
    record: dict[str, dict[str, float | str]] = field(default_factory=dict)


def parse_markers(text: str) -> dict[str, Path]:
    """Read ``DIR`` (the CTC marker) or ``CTC=DIR,WBC=DIR`` into class -> folder, in the order given.

    Raises:
        ValueError: an entry without class or folder among several, or a class named twice.
    """
    if "=" not in text:
        if not text.strip():
            raise ValueError("takes a folder, or CTC=DIR,WBC=DIR. Received nothing")
        return {CTC: Path(text)}
    folders: dict[str, Path] = {}
    for entry in text.split(","):
        name, separator, folder = (part.strip() for part in entry.partition("="))
        if not (separator and name and folder):
            raise ValueError(f"takes a folder, or CTC=DIR,WBC=DIR. Received: {entry!r}")
        if name in folders:
            raise ValueError(f"names class {name!r} twice; put all its images into one folder")
        folders[name] = Path(folder)
    return folders


def default_negative(folders: Mapping[str, Path]) -> str | None:
    """The class of unstained cells: WBC where the CTCs alone are stained; with more markers it is not known."""
    return WBC if list(folders) == [CTC] else None


def field_key(name: str) -> str:
    """What an image's name says of its field: path without suffix and without the channel's word, in lower case."""
    path = PurePosixPath(name)
    return (path.parent / (_CHANNEL_WORD.sub("", path.stem) or path.stem)).as_posix().casefold()


class MarkerLabels:
    """Finds each field's marker images, and tells the classes of its cells.

    Args:
        options: folders, thresholds, shifts.
        field_names: file names of the bright-field images, POSIX, relative to their folder.
        report: takes marker images that belong to no field.

    Raises:
        AnnotationError: no folder, or two images of one field in it.
    """

    def __init__(self, options: MarkerOptions, field_names: Sequence[str], report: ConversionReport) -> None:
        self.options = options
        self._files = {name: _index(folder) for name, folder in options.folders.items()}
        known = {field_key(name) for name in field_names}
        for files in self._files.values():
            for key, path in files.items():
                if key not in known:
                    report.skip(EXTRA_MARKER, str(path))

    def label(self, name: str, labels: np.ndarray, report: ConversionReport) -> MarkerResult:
        """Tell the classes of one field's cells.

        Args:
            name: file name of the bright-field image.
            labels: int32 (H, W), its cells 1..N.
            report: takes what could not be told.

        Raises:
            AnnotationError: a marker image of another size.
            ImageReadError: one that cannot be read.
        """
        result = MarkerResult()
        count = int(labels.max(initial=0))
        stained: dict[str, np.ndarray] = {}
        for marker in self.options.folders:
            path = self._files[marker].get(field_key(name))
            if path is None:
                report.note(NO_MARKER, f"{name} ({marker})")
                return result
            seen = self._measure(marker, path, name, labels, count, result, report)
            if seen is None:
                return result
            stained[marker] = seen
        self._decide(name, stained, count, result, report)
        return result

    def _measure(
        self,
        marker: str,
        path: Path,
        name: str,
        labels: np.ndarray,
        count: int,
        result: MarkerResult,
        report: ConversionReport,
    ) -> np.ndarray | None:
        """Brightness of each cell over the threshold, float64 (N,), NaN where it is not seen; None: no telling."""
        image = read_image(path)
        if image.shape[:2] != labels.shape:
            raise AnnotationError(
                f"{path}: {image.shape[1]} x {image.shape[0]} px, but its bright-field image {name} has "
                f"{labels.shape[1]} x {labels.shape[0]} px; give images of one field in one size"
            )
        try:
            flat, noise = flatten_marker(image)
        except ValueError as error:
            raise ImageReadError(f"{path}: {error}") from error
        shift = self._shift(labels, flat, f"{name} ({marker})", report)
        x, y = (round(value, 2) for value in reversed(shift.shift_yx))
        record = {"file": path.name, "shift_x_px": x, "shift_y_px": y, "response": round(shift.response, 2)}
        result.record[marker] = record
        if shift.distance_px > self.options.most_shift_px and self.options.shift_xy is None:
            report.note(FAR_SHIFT, f"{name} ({marker}: {x:g}, {y:g} px)")
            return None
        moved = shift_labels(labels, shift.shift_yx)
        intensities = marker_intensities(flat, moved, count)
        threshold = self.options.threshold or marker_threshold(intensities, noise)
        record |= {"threshold": round(threshold, 3), "noise": round(noise, 3)}
        for index in np.flatnonzero(np.isfinite(intensities)):
            columns = result.extra.setdefault(int(index) + 1, {})
            columns[f"{_column(marker)}_intensity"] = round(float(intensities[index]), 3)
        least_area = np.median(np.bincount(labels.ravel())[1:]) / 4 if count else np.inf
        for _ in range(count_unmatched(flat, moved, threshold, float(least_area))):
            report.note(UNMATCHED, f"{name} ({marker})")
        return intensities / threshold if threshold > 0 else np.where(intensities > 0, np.inf, 0.0)

    def _shift(self, labels: np.ndarray, flat: np.ndarray, place: str, report: ConversionReport) -> Shift:
        if self.options.shift_xy is not None:
            return Shift((self.options.shift_xy[1], self.options.shift_xy[0]), 0.0, 1.0)
        if not labels.any():
            return Shift((0.0, 0.0), 0.0, 1.0)
        bright = np.clip(flat, 0, float(np.percentile(flat, _BRIGHTEST)))
        shift = estimate_shift(labels > 0, bright)
        if not shift.is_certain or shift.distance_px > self.options.most_shift_px:
            # Few stained cells fit on many others; within what is plausible, often on one place only.
            near = estimate_shift(labels > 0, bright, self.options.most_shift_px)
            if near.is_certain and near.distance_px <= self.options.most_shift_px:
                return near
        if not shift.is_certain:
            report.note(NO_SHIFT, place)
            return Shift((0.0, 0.0), shift.response, shift.lead)
        return shift

    def _decide(
        self, name: str, stained: Mapping[str, np.ndarray], count: int, result: MarkerResult, report: ConversionReport
    ) -> None:
        for index in range(count):
            values = {marker: float(seen[index]) for marker, seen in stained.items()}
            place = f"{name}: cell {index + 1}"
            if any(np.isnan(value) for value in values.values()):
                report.note(NOT_SEEN, place)
                continue
            positive = [marker for marker, value in values.items() if value > 1]
            if len(positive) > 1:
                result.ambiguous.add(index + 1)
                report.note(SEVERAL, f"{place} ({', '.join(positive)})")
            elif positive:
                result.classes[index + 1] = positive[0]
            elif self.options.negative is not None:
                result.classes[index + 1] = self.options.negative
            else:
                report.note(UNSTAINED, place)


def _column(marker: str) -> str:
    return re.sub(r"\W+", "_", marker).strip("_").lower() or "marker"


def _index(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in files_under(folder, IMAGE_SUFFIXES):
        key = field_key(path.relative_to(folder).as_posix())
        if key in files:
            raise AnnotationError(f"{path}: {files[key].name} is an image of the same field; keep one in {folder}")
        files[key] = path
    return files
