"""Frozen value types that travel between readers, converters and writers, each checked when it is made.

Boxes are half-open pixels of the full image, ``x0, y0, x1, y1``, x right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

IGNORE_LABEL = "__ignore__"

BoxXYXY = tuple[float, float, float, float]
PolygonXY = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CellBox:
    """One labelled cell, or a region to ignore.

    Attributes:
        box_xyxy: half-open box in pixels with a positive area.
        label: class name; None only for an ignore region that holds for every class.
        polygons_xy: outlines in pixels (none: only the box is known).
        is_ignore: neither truth nor background (COCO's ``iscrowd``).

    Raises:
        ValueError: a coordinate that is not finite, a box without area, a cell without a label.
    """

    box_xyxy: BoxXYXY
    label: str | None
    polygons_xy: tuple[PolygonXY, ...] = ()
    is_ignore: bool = False

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if not all(math.isfinite(value) for value in self.box_xyxy):
            raise ValueError(f"`box_xyxy` must be finite. Received: {self.box_xyxy}")
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"`box_xyxy` must have a positive area (x0 < x1 and y0 < y1). Received: {self.box_xyxy}")
        if self.label is None and not self.is_ignore:
            raise ValueError("`label` may be None only for an ignore region that holds for every class")
        if self.label is not None and (not self.label or self.label == IGNORE_LABEL):
            raise ValueError(f"`label` must be a class name. Received: {self.label!r}")


@dataclass(frozen=True)
class LabelledImage:
    """One image and what a person marked in it.

    Attributes:
        file_name: POSIX path relative to the images' root.
        size_wh: width and height in pixels, after EXIF orientation.
        cells: cells and ignore regions; empty for a field without cells.
        group: what must not be torn apart by a split: raw image, slide or patient.
        um_per_px: micrometres per pixel, where known.
        channel: name of the channel, where known.
        white_level: the pixel value that counts as white (255 in 8-bit images), where known.
        origin_xy: for a crop, where its top left pixel lay in the raw image.

    Raises:
        ValueError: a path that is absolute or climbs, a size, scale or white level that is not positive,
            a box that leaves the image.
    """

    file_name: str
    size_wh: tuple[int, int]
    cells: tuple[CellBox, ...] = ()
    group: str = ""
    um_per_px: float | None = None
    channel: str | None = None
    white_level: float | None = None
    origin_xy: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.file_name)
        if not self.file_name or "\\" in self.file_name or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"`file_name` must be a relative POSIX path without '..'. Received: {self.file_name!r}")
        width, height = self.size_wh
        if width < 1 or height < 1:
            raise ValueError(f"`size_wh` must be at least 1 x 1. Received: {self.size_wh}")
        for name in ("um_per_px", "white_level"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number. Received: {value}")
        for cell in self.cells:
            x0, y0, x1, y1 = cell.box_xyxy
            if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
                raise ValueError(
                    f"`cells` of {self.file_name} must lie inside the image of {width} x {height} px. "
                    f"Received: {cell.box_xyxy}"
                )
        if not self.group:
            object.__setattr__(self, "group", path.stem)

    @property
    def boxes_xyxy(self) -> np.ndarray:
        """Boxes of cells and ignore regions in order, float32 (N, 4), pixels."""
        return np.array([cell.box_xyxy for cell in self.cells], dtype=np.float32).reshape(-1, 4)

    @property
    def num_cells(self) -> int:
        """How many cells are marked, ignore regions left out."""
        return sum(not cell.is_ignore for cell in self.cells)


@dataclass(frozen=True)
class LabelledSet:
    """Labelled images under one ordered list of classes; the images are kept sorted by file name.

    Attributes:
        classes: class names; a class' place is its index (class 0 is CTC in CTC data sets).
        images: the labelled images.
        info: how the set was made, as plain JSON values.

    Raises:
        ValueError: no class, a class named twice, an image named twice, a label that is no class.
    """

    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes) or IGNORE_LABEL in self.classes:
            raise ValueError(f"`classes` must be distinct class names, at least one. Received: {self.classes}")
        names = [image.file_name for image in self.images]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) != len(names) else []
        if twice:
            raise ValueError(f"`images` must have distinct file names. Received twice: {', '.join(twice[:5])}")
        known = {*self.classes, None}
        for image in self.images:
            unknown = {cell.label for cell in image.cells} - known
            if unknown:
                raise ValueError(
                    f"`images`: {image.file_name} has labels {sorted(map(str, unknown))} that are no class of "
                    f"{self.classes}"
                )
        object.__setattr__(self, "images", tuple(sorted(self.images, key=lambda image: image.file_name)))
