"""From boxes in a COCO file to a set of single cells (Dataset II of ssd-attention-fusion-2022, section 2.5)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.assemble import require_same_size
from ctc_mm.formats.cell_set import CellRow, CellSetWriter, count_cells
from ctc_mm.formats.images import facts_of
from ctc_mm.formats.paths import require_folder, resolve_inside
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.imaging.cell_crops import CellCrop, crop_cell, crop_size_px, normalize_crop
from ctc_mm.imaging.io import read_image
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet

DEFAULT_CHANNEL = "brightfield"

AT_EDGE = "cell whose crop leaves the image"
IGNORED = "ignore region"
LARGER = "cell larger than its crop"


@dataclass(frozen=True)
class CocoCellOptions:
    """How boxes become crops.

    Attributes:
        crop_px: side of a square crop around each box' middle; crop_um: the same in micrometres, which wins.
        margin: where neither is given: the box is cut out as a square of its longer side and this part of it on each
            side, so that crops differ in size.
        edge: a crop that leaves the image: its edge is repeated (``pad``), or the cell is left out, counted (``skip``).
        normalize: normalise background and brightness of each crop (reading 23).
        um_per_px: for images whose scale the file does not say.
        split: written to ``cells.csv``; ``all``: none yet.
        overwrite: replace an older, different set in the folder.

    Raises:
        ValueError: a number out of its range, an unknown ``edge``.
    """

    crop_px: int | None = None
    crop_um: float | None = None
    margin: float = 0.1
    edge: Literal["pad", "skip"] = "pad"
    normalize: bool = False
    um_per_px: float | None = None
    split: str = "all"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.crop_px is not None and self.crop_px < 1:
            raise ValueError(f"a crop has at least 1 px. Received: {self.crop_px}")
        if not (np.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"`margin` must be at least 0. Received: {self.margin!r}")
        if self.edge not in ("pad", "skip"):
            raise ValueError(f"`edge` must be pad or skip. Received: {self.edge!r}")

    @property
    def columns(self) -> dict[str, str | float]:
        """How all cells of the set are cut, for whoever cuts others alike."""
        follows_box = self.crop_px is None and self.crop_um is None
        margin = {"crop_margin": self.margin} if follows_box else {}
        return {**margin, "crop_normalized": "border" if self.normalize else "no"}


def cut_cells(
    labelled: LabelledSet,
    images_root: Path,
    out_dir: Path,
    options: CocoCellOptions | None = None,
    progress: Progress = no_progress,
) -> ConversionReport:
    """Cut each box of a labelled set out of its image, and write them as single cells.

    Classes, group, scale and channel of the set are carried on. Ignore regions are left out and images without cells
    passed over, both counted; boxes at the image's edge are kept with ``border`` true in ``cells.csv``.

    Raises:
        AnnotationError: an image that is missing, outside of the root or of another size; no cell at all; an older,
            different set in ``out_dir`` without ``overwrite``. Nothing is written then.
        ImageReadError: an image that cannot be decoded.
    """
    options = CocoCellOptions() if options is None else options
    images_root, out_dir = Path(images_root), Path(out_dir)
    require_folder(images_root)
    report = ConversionReport(classes=labelled.classes)
    with CellSetWriter(out_dir, overwrite=options.overwrite) as writer:
        cutter = _Cutter(images_root, _names(labelled), options, writer, report)
        gather(labelled.images, cutter.cut, progress, "cutting cells")
        if not writer.rows:
            raise AnnotationError(f"{images_root}: no cell in {len(labelled.images)} images:\n{report}")
        found = count_cells(writer.rows)
        report.cells = {name: found.get(name, 0) for name in labelled.classes}
    report.images = len(labelled.images)
    return report


@dataclass(frozen=True)
class _Cutter:
    images_root: Path
    names: dict[str, str]
    options: CocoCellOptions
    writer: CellSetWriter
    report: ConversionReport

    def cut(self, image: LabelledImage) -> None:
        """Cut the cells of one image."""
        # A region of every class stands once a class in COCO.
        for box_xyxy in dict.fromkeys(cell.box_xyxy for cell in image.cells if cell.is_ignore):
            self.report.skip(IGNORED, f"{image.file_name}: {', '.join(f'{value:g}' for value in box_xyxy)}")
        if image.num_cells == 0:
            self.report.images_without_cells += 1
            return
        pixels = self._read(image)
        for index, cell in enumerate(cell for cell in image.cells if not cell.is_ignore):
            self._write(image, index, cell, pixels)

    def _read(self, image: LabelledImage) -> np.ndarray:
        path, _ = resolve_inside(self.images_root, self.images_root, image.file_name)
        pixels = read_image(path)
        require_same_size(f"{image.file_name} in the boxes file", image.size_wh, facts_of(pixels), path)
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise ImageReadError(f"{path}: holds NaN or infinite pixels; mend or mask them, and export it again")
        return pixels

    def _write(self, image: LabelledImage, index: int, cell: CellBox, pixels: np.ndarray) -> None:
        cell_id = f"{self.names[image.file_name]}/{index:04d}"
        um_per_px = image.um_per_px or self.options.um_per_px
        crop = self._crop(pixels, cell, um_per_px, image.file_name)
        x0, y0, x1, y1 = cell.box_xyxy
        if crop.padded_px and self.options.edge == "skip":
            self.report.skip(AT_EDGE, f"{cell_id} ({cell.label})")
            return
        if crop.padded_px:
            self.report.note(f"{AT_EDGE} (its edge is repeated)", cell_id)
        if max(x1 - x0, y1 - y0) > len(crop.pixels):
            self.report.note(LARGER, cell_id)
        width, height = image.size_wh
        row = CellRow(
            cell_id=cell_id,
            channel=image.channel or DEFAULT_CHANNEL,
            label=cell.label,
            group=image.group,
            source=image.file_name,
            box_xyxy=cell.box_xyxy,
            um_per_px=um_per_px,
            split=self.options.split,
            extra={
                "crop_x0": crop.window_xyxy[0],
                "crop_y0": crop.window_xyxy[1],
                "crop_px": len(crop.pixels),
                **self.options.columns,
                "padded_px": crop.padded_px,
                "border": x0 <= 0 or y0 <= 0 or x1 >= width or y1 >= height,
            },
        )
        self.writer.add(row, normalize_crop(crop, None) if self.options.normalize else crop.pixels)

    def _crop(self, pixels: np.ndarray, cell: CellBox, um_per_px: float | None, place: str) -> CellCrop:
        x0, y0, x1, y1 = cell.box_xyxy
        options = self.options
        if options.crop_um is not None:
            try:
                side = crop_size_px(options.crop_um, um_per_px)
            except ValueError as error:
                raise AnnotationError(f"{place}: {error}; say it with --um-per-px") from error
        elif options.crop_px is not None:
            side = options.crop_px
        else:
            side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * options.margin)))
        # A box' edges are edges of pixels, a centre counts from the middle of the first one.
        return crop_cell(pixels, ((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5), side)


def _names(labelled: LabelledSet) -> dict[str, str]:
    """File name -> what its cells are named after: the path without suffix, where no other image has the same."""
    stems = {image.file_name: PurePosixPath(image.file_name).with_suffix("").as_posix() for image in labelled.images}
    counts = Counter(stems.values())
    return {name: stem if counts[stem] == 1 else name for name, stem in stems.items()}
