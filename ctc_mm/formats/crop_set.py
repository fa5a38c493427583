"""A labelled set of raw images cut into a labelled set of crops (paper ssd-attention-fusion-2022, section 2.5)."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from ctc_mm import __version__
from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.assemble import require_same_size
from ctc_mm.formats.images import WHITE_LEVEL_8_BIT, common_white_level, facts_of, image_facts
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under, require_folder, resolve_inside
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.imaging.crops import (
    boxes_in_window,
    central_area_xyxy,
    count_grid_windows,
    grid_windows,
    random_windows,
)
from ctc_mm.imaging.io import read_image, write_image
from ctc_mm.imaging.normalize import gamma_transform, stretch_histogram
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet

CUT_CELL = "cell cut by a crop's edge"
TOO_SMALL = "image smaller than a crop"
IMAGES_FOLDER = "images"
# A visible rest thinner than this is no region that a box could be proposed for.
THINNEST_REST_PX = 1


@dataclass(frozen=True)
class CropOptions:
    """How raw images are cut.

    Attributes:
        size: side of a crop, px.
        center: side of the central area that crops are taken from, px.
        per_image: most crops of one image.
        cells: least and most whole cells in a crop; None: any number.
        seed: source of chance, the same for every run.
        overlap: False: windows side by side, for test sets; True: random windows, which overlap.
        cut_cells: what a cut cell leaves behind: an ignore region ("ignore"), or background ("drop").
        gamma: Eq. 1 on the raw image before it is cut; None: off.
        stretch: Eq. 2 on the raw image before it is cut, after gamma.

    Raises:
        ValueError: a number out of range.
    """

    size: int = 300
    center: int = 850
    per_image: int = 30
    cells: tuple[int, int] | None = None
    seed: int = 0
    overlap: bool = False
    cut_cells: Literal["ignore", "drop"] = "ignore"
    gamma: float | None = None
    stretch: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or self.per_image < 1 or self.seed < 0:
            raise ValueError(
                "`size` and `per_image` must be at least 1 and `seed` at least 0. "
                f"Received: {self.size}, {self.per_image}, {self.seed}"
            )
        if self.center < self.size:
            raise ValueError(f"`center` ({self.center}) must be at least `size` ({self.size})")
        if self.cells is not None and not 0 <= self.cells[0] <= self.cells[1]:
            raise ValueError(f"`cells` must be MIN MAX with 0 <= MIN <= MAX. Received: {self.cells}")


def cut_set(
    raw: LabelledSet, images_root: Path, out_dir: Path, options: CropOptions, progress: Progress = no_progress
) -> tuple[LabelledSet, ConversionReport]:
    """Cut the images of a set into crops, written to ``out_dir/images``; boxes move along.

    Cells that a crop's edge cuts are dropped and counted. What is left of them in the crop would teach that a part of a
    cell is background, so it becomes an ignore region (of every class, since a part does not always show which); see
    ``CropOptions.cut_cells``. Crops keep the bit depth, scale, channel, white level and group of their raw image; the
    windows of one image depend on the seed and its name alone.

    Args:
        raw: raw images and their boxes.
        images_root: folder that the file names of ``raw`` are relative to.
        out_dir: folder to write to; file names of the result are relative to its ``images``.
        options: how to cut.
        progress: wraps the images.

    Raises:
        AnnotationError: an image that is missing, outside of the root or of another size; two images whose crops would
            bear one name; no crop at all.
        ImageReadError: an image that cannot be decoded or scaled.
    """
    report = ConversionReport()
    require_folder(images_root)
    cutter = _Cutter(_with_white_levels(raw, images_root, progress), images_root, out_dir, options, report)
    crops = [crop for crops in gather(cutter.raw.images, cutter.cut, progress, "cutting") for crop in crops]
    _note_unnamed(raw, images_root, report)
    if not crops:
        raise AnnotationError(f"{images_root}: no crop came of {len(raw.images)} images:\n{report}")
    info = {"converter": "raw_to_crops", "ctc_mm": __version__, "crops": asdict(options)}
    labelled = LabelledSet(raw.classes, tuple(crops), info)
    report.count(labelled)
    _note_leftovers(labelled, out_dir, report)
    return labelled, report


@dataclass(frozen=True)
class _Cutter:
    raw: LabelledSet
    images_root: Path
    out_dir: Path
    options: CropOptions
    report: ConversionReport

    def __post_init__(self) -> None:
        for stem, count in Counter(map(_stem, self.raw.images)).items():
            if count > 1:
                raise AnnotationError(
                    f"{self.images_root}: {count} images are named {stem} with different suffixes, so their crops "
                    "would overwrite each other; rename one"
                )

    def cut(self, image: LabelledImage) -> list[LabelledImage]:
        """Cut one raw image, and write its crops."""
        pixels = self._read(image)
        origins = self._windows(image)
        crops = []
        for x0, y0 in origins.tolist():
            suffix = ".tif" if pixels.dtype == np.float32 else ".png"
            name = f"{_stem(image)}_x{x0:04d}_y{y0:04d}{suffix}"
            window = pixels[y0 : y0 + self.options.size, x0 : x0 + self.options.size]
            write_image(self.out_dir / IMAGES_FOLDER / name, window)
            crops.append(
                replace(
                    image,
                    file_name=name,
                    size_wh=(self.options.size, self.options.size),
                    cells=self._cells(image, (x0, y0), name),
                    origin_xy=(x0, y0),
                )
            )
        return crops

    def _read(self, image: LabelledImage) -> np.ndarray:
        path, _ = resolve_inside(self.images_root, self.images_root, image.file_name)
        pixels = read_image(path)
        require_same_size(f"{image.file_name} in the boxes file", image.size_wh, facts_of(pixels), path)
        white = image.white_level
        try:
            if self.options.gamma is not None:
                pixels = gamma_transform(pixels, self.options.gamma, white_level=white)
            if self.options.stretch:
                stretched = stretch_histogram(pixels, (0, white))
                pixels = stretched if pixels.dtype == np.float32 else np.rint(stretched).astype(pixels.dtype)
        except ValueError as error:
            raise ImageReadError(f"{path}: {error}") from error
        return pixels

    def _windows(self, image: LabelledImage) -> np.ndarray:
        options = self.options
        boxes_xyxy = np.array([cell.box_xyxy for cell in image.cells if not cell.is_ignore]).reshape(-1, 4)
        area_xyxy = central_area_xyxy(image.size_wh, options.center)
        rng = np.random.default_rng([options.seed, zlib.crc32(image.file_name.encode())])

        def accept(origin_xy: np.ndarray) -> bool:
            if options.cells is None:
                return True
            count = len(boxes_in_window(boxes_xyxy, origin_xy, options.size).whole)
            return options.cells[0] <= count <= options.cells[1]

        fitting = count_grid_windows(area_xyxy, options.size)
        if fitting == 0:
            self.report.skip(TOO_SMALL, image.file_name)
        choose = random_windows if options.overlap else grid_windows
        origins = choose(area_xyxy, options.size, options.per_image, rng, accept)
        wanted = options.per_image if options.overlap else min(options.per_image, fitting)
        if fitting and len(origins) < wanted:
            self.report.note("fewer crops than wanted have a number of cells within --cells", image.file_name)
        return origins

    def _cells(self, image: LabelledImage, origin_xy: tuple[int, int], name: str) -> tuple[CellBox, ...]:
        cells, cut = cells_in_window(image, origin_xy, self.options.size, self.options.cut_cells)
        for label in cut:
            self.report.skip(CUT_CELL, f"{name}: {label}")
        return cells


def cells_in_window(
    image: LabelledImage,
    origin_xy: tuple[int, int],
    size_px: int | tuple[int, int],
    cut_cells: Literal["ignore", "drop"] = "ignore",
) -> tuple[tuple[CellBox, ...], list[str | None]]:
    """Cells as a window of an image shows them, in the window's pixels.

    Args:
        image: with its cells.
        origin_xy: place of the window's first pixel.
        size_px: its side, or width and height.
        cut_cells: what a cut cell leaves behind: an ignore region, or background.

    Returns:
        What is written of the window, and the labels of the cells that its edge cuts.
    """
    seen = boxes_in_window(image.boxes_xyxy, origin_xy, size_px)
    kept = [
        (index, _moved(image.cells[index], box_xyxy, origin_xy))
        for index, box_xyxy in zip(seen.whole.tolist(), seen.whole_xyxy, strict=True)
    ]
    cut = []
    for index, box_xyxy in zip(seen.cut.tolist(), seen.cut_xyxy, strict=True):
        cell = image.cells[index]
        box = tuple(box_xyxy.tolist())
        if not cell.is_ignore:
            cut.append(cell.label)
        is_thin = min(box[2] - box[0], box[3] - box[1]) < THINNEST_REST_PX
        if not is_thin and (cell.is_ignore or cut_cells == "ignore"):
            kept.append((index, CellBox(box, cell.label if cell.is_ignore else None, is_ignore=True)))
    return tuple(cell for _, cell in sorted(kept, key=lambda entry: entry[0])), cut


def _moved(cell: CellBox, box_xyxy: np.ndarray, origin_xy: tuple[int, int]) -> CellBox:
    x0, y0 = origin_xy
    polygons = tuple(tuple((x - x0, y - y0) for x, y in polygon) for polygon in cell.polygons_xy)
    return replace(cell, box_xyxy=tuple(box_xyxy.tolist()), polygons_xy=polygons)


def _with_white_levels(raw: LabelledSet, images_root: Path, progress: Progress) -> LabelledSet:
    """Fill in white levels that the boxes file does not give, one for all images deeper than 8 bits."""
    missing = [image for image in raw.images if image.white_level is None]

    def measure(image: LabelledImage) -> tuple[str, object]:
        return image.file_name, image_facts(resolve_inside(images_root, images_root, image.file_name)[0])

    facts = dict(gather(missing, measure, progress, "measuring brightness")) if missing else {}
    deep = common_white_level(facts.values())
    return replace(
        raw,
        images=tuple(
            replace(image, white_level=WHITE_LEVEL_8_BIT if facts[image.file_name].is_8_bit else deep)
            if image.file_name in facts
            else image
            for image in raw.images
        ),
    )


def _note_unnamed(raw: LabelledSet, images_root: Path, report: ConversionReport) -> None:
    named = {image.file_name for image in raw.images}
    for path in files_under(images_root, IMAGE_SUFFIXES):
        name = path.relative_to(images_root).as_posix()
        if name not in named:
            report.skip("image that the boxes file does not name", name)


def _note_leftovers(crops: LabelledSet, out_dir: Path, report: ConversionReport) -> None:
    names = {image.file_name for image in crops.images}
    folder = out_dir / IMAGES_FOLDER
    for path in files_under(folder, IMAGE_SUFFIXES):
        name = path.relative_to(folder).as_posix()
        if name not in names:
            report.note("file of an earlier run, not part of this set", name)


def _stem(image: LabelledImage) -> str:
    return PurePosixPath(image.file_name).with_suffix("").as_posix()
