"""Corrected cells back into labels to train on: of whole slides, or of windows cut from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ctc_mm import __version__
from ctc_mm.counting.exchange.changes import note_changes
from ctc_mm.counting.exchange.corrected import CorrectedCell, CorrectedFile, clip_to_slide, is_cut, read_corrected
from ctc_mm.counting.exchange.counted_slides import CountedSlide, find_slide
from ctc_mm.counting.exchange.cut_windows import usable_channels, windows_with_cells, windows_without_cells
from ctc_mm.counting.records import UNIDENTIFIED
from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.crop_set import IMAGES_FOLDER, cells_in_window
from ctc_mm.formats.images import WHITE_LEVEL_8_BIT, ImageFacts, common_white_level, facts_of
from ctc_mm.formats.labels import LabelRules, normalise_label
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.imaging.encode import write_image
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.tiff_field import RGB_NAMES
from ctc_mm.structures import IGNORE_LABEL, CellBox, LabelledImage, LabelledSet

OUTSIDE, CUT_BY_EDGE = "cell outside the slide", "cell cut off at the slide's edge"
UNKNOWN_LABEL = "unknown label"
NO_CLASS = "object without a class; give it one (QuPath: Annotations, Set selected), or leave such out: --skip-unknown"
STILL_UNIDENTIFIED = "cell left unidentified: an ignore region, neither cell nor background (or map it with --labels)"
TOO_LARGE, NOT_COUNTED = "cell larger than a window", "slide without a counted file beside it: changes are not told"
REPEATED = "slide with cells that several windows show; each window's are counted"
FEW_BLANKS = "fewer windows without cells than wanted fit on the slide"


@dataclass(frozen=True)
class CorrectionOptions:
    """How corrected cells become labels.

    Attributes:
        rules: labels to classes; without classes of its own, those of the count.
        cut_px: side of the windows to cut; None: labels of whole slides.
        blanks: windows without a cell to cut, for each window with cells.
        channel: that is cut from a slide of several; None: the only one, all of a colour slide, or the model's.
        seed: of the windows' places.

    Raises:
        ValueError: a number out of range.
    """

    rules: LabelRules = LabelRules()
    cut_px: int | None = None
    blanks: float = 1.0
    channel: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        blanks_fit = math.isfinite(self.blanks) and self.blanks >= 0
        if (self.cut_px is not None and self.cut_px < 1) or not blanks_fit or self.seed < 0:
            raise ValueError(
                "`cut_px` must be at least 1, `blanks` and `seed` at least 0 and finite. "
                f"Received: {self.cut_px}, {self.blanks}, {self.seed}"
            )


def convert_corrections(
    files: Sequence[Path],
    slides: Sequence[CountedSlide],
    out_dir: Path,
    options: CorrectionOptions,
    progress: Progress = no_progress,
) -> tuple[LabelledSet, ConversionReport]:
    """Turn corrected files into a labelled set.

    Args:
        files: corrected GeoJSON or COCO files.
        slides: that they can be of.
        out_dir: where windows are written (to ``images``), with ``cut_px``.
        options: how.
        progress: wraps the files.

    Returns:
        The set (file names relative to the slides' folder, or to ``out_dir/images``), and the report: what was kept and
        left out, and what a person added, removed, relabelled and moved.

    Raises:
        AnnotationError: a file that cannot be read or placed, an unknown label, a slide named by two files, a size that
            is not the slide's, no channel chosen.
        ImageReadError: a slide that cannot be read.
    """
    report = ConversionReport()
    read = [
        one for found in gather(files, lambda path: read_corrected(path, report), progress, "reading") for one in found
    ]
    pairs = [(one, find_slide(one, slides)) for one in read]
    _refuse_twice(pairs)
    rules = _rules(options.rules, [slide for _, slide in pairs])
    maker = _Maker(out_dir, options, rules, report)
    made = gather(pairs, lambda pair: maker.images_of(*pair), progress, "converting")
    images = tuple(image for some in made for image in some)
    if not images:
        raise AnnotationError(f"{', '.join(map(str, files))}: no image came of it:\n{report}")
    classes = rules.classes or rules.class_order(cell.label for image in images for cell in image.cells if cell.label)
    info = {"converter": "corrections_to_coco", "ctc_mm": __version__, "cut_px": options.cut_px, "seed": options.seed}
    labelled = LabelledSet(classes, maker.with_white_levels(images), info)
    report.count(labelled)
    return labelled, report


def _refuse_twice(pairs: Sequence[tuple[CorrectedFile, CountedSlide]]) -> None:
    seen: dict[str, Path] = {}
    for one, slide in pairs:
        if slide.name in seen:
            raise AnnotationError(f"{seen[slide.name]} and {one.path} are both of slide {slide.name}; give one of them")
        seen[slide.name] = one.path


def _rules(rules: LabelRules, slides: Sequence[CountedSlide]) -> LabelRules:
    """The count's own class names mean themselves, and a cell left unidentified an ignore region, if not said else."""
    counted = list(dict.fromkeys(name for slide in slides for name in slide.classes))
    own = {normalise_label(name): name for name in (*counted, *(rules.classes or ()))}
    label_map = {**own, UNIDENTIFIED: IGNORE_LABEL, **(rules.label_map or {})}
    named = [name for name in (rules.label_map or {}).values() if name != IGNORE_LABEL and name not in counted]
    return replace(
        rules, label_map=label_map, classes=rules.classes or tuple(dict.fromkeys([*counted, *named])) or None
    )


@dataclass(frozen=True)
class _Maker:
    out_dir: Path
    options: CorrectionOptions
    rules: LabelRules
    report: ConversionReport
    facts: dict[str, ImageFacts] = field(default_factory=dict)

    def images_of(self, corrected: CorrectedFile, slide: CountedSlide) -> list[LabelledImage]:
        """The images that come of one corrected file."""
        counted = slide.counted_file(corrected.path)
        if counted is None:
            self.report.note(NOT_COUNTED, str(corrected.path))
        else:
            before = read_corrected(counted)
            note_changes([cell for one in before for cell in one.cells], corrected.cells, self.report)
        with slide.source.open(slide.um_per_px) as opened:
            if corrected.size_wh not in (None, opened.size_wh):
                raise AnnotationError(
                    f"{corrected.path}: its image is {_size(corrected.size_wh)} px, slide {slide.name} is "
                    f"{_size(opened.size_wh)} px; export the labels at full resolution"
                )
            whole = self._whole(corrected, slide, opened)
            return [whole] if self.options.cut_px is None else self._windows(whole, slide, opened)

    def _whole(self, corrected: CorrectedFile, slide: CountedSlide, opened: Field) -> LabelledImage:
        cells = [self._cell(cell, opened.size_wh) for cell in corrected.cells]
        return LabelledImage(
            file_name=slide.source.relative_path,
            size_wh=opened.size_wh,
            cells=tuple(cell for cell in cells if cell is not None),
            group=slide.group,
            um_per_px=opened.um_per_px,
            channel=_channel_name([self.options.channel or slide.channel or ""]),
        )

    def _cell(self, cell: CorrectedCell, size_wh: tuple[int, int]) -> CellBox | None:
        if not (cell.label or cell.is_ignore or self.rules.skip_unknown):
            raise AnnotationError(f"{cell.place}: {NO_CLASS}")
        label = IGNORE_LABEL if cell.is_ignore else self.rules.class_of(cell.label, cell.place)
        if label is None:
            self.report.skip(UNKNOWN_LABEL, f"{cell.place} {cell.label!r}")
            return None
        inside = clip_to_slide(cell, size_wh)
        if inside is None:
            self.report.skip(OUTSIDE, cell.place)
            return None
        if is_cut(cell, size_wh):
            self.report.note(CUT_BY_EDGE, cell.place)
        if normalise_label(cell.label) == UNIDENTIFIED and label == IGNORE_LABEL:
            self.report.note(STILL_UNIDENTIFIED, cell.place)
        is_ignore = label == IGNORE_LABEL
        return CellBox(inside.box_xyxy, None if is_ignore else label, inside.polygons_xy, is_ignore)

    def _windows(self, whole: LabelledImage, slide: CountedSlide, opened: Field) -> list[LabelledImage]:
        channels = self._channels(slide, opened)
        cells = [cell for cell in whole.cells if not cell.is_ignore]
        place = (opened.size_wh, self.options.cut_px)
        with_cells, too_large = windows_with_cells(_boxes(cells), *place, self.options.seed, slide.name)
        for number in too_large:
            self.report.skip(TOO_LARGE, f"{slide.name}: box {list(cells[number].box_xyxy)}")
        wanted = round(self.options.blanks * max(len(with_cells), 1))
        # They keep clear of what is unidentified too.
        blanks = windows_without_cells(_boxes(whole.cells), *place, wanted, self.options.seed, slide.name)
        if len(blanks) < wanted:
            self.report.note(FEW_BLANKS, f"{slide.name}: {len(blanks)} of {wanted}")
        width, height = opened.size_wh
        size = min(self.options.cut_px, width), min(self.options.cut_px, height)
        origins = sorted({*with_cells, *blanks})
        windows = [self._window(whole, slide, opened, channels, origin, size) for origin in origins]
        shown = [sum(not cell.is_ignore for cell in window.cells) for window in windows]
        n_cells = len(cells) - len(too_large)
        if sum(shown) > n_cells:
            told = f"{sum(shown)} boxes in {np.count_nonzero(shown)} windows, of {n_cells} cells"
            self.report.note(REPEATED, f"{slide.name}: {told}")
        return windows

    def _window(
        self,
        whole: LabelledImage,
        slide: CountedSlide,
        opened: Field,
        channels: Sequence[str],
        origin_xy: tuple[int, int],
        size_wh: tuple[int, int],
    ) -> LabelledImage:
        x0, y0 = origin_xy
        pixels = opened.read(channels, (x0, y0, x0 + size_wh[0], y0 + size_wh[1]))
        image = pixels[0] if len(channels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        name = f"{slide.name}_x{x0:06d}_y{y0:06d}{'.tif' if image.dtype == np.float32 else '.png'}"
        write_image(self.out_dir / IMAGES_FOLDER / name, image)
        self.facts[name] = facts_of(image)
        cells, _ = cells_in_window(whole, origin_xy, size_wh)
        return replace(
            whole, file_name=name, size_wh=size_wh, cells=cells, origin_xy=origin_xy,
            channel=whole.channel or _channel_name(channels),
        )  # fmt: skip

    def _channels(self, slide: CountedSlide, opened: Field) -> tuple[str, ...]:
        wanted = self.options.channel
        if wanted is None and slide.channel in opened.channels:
            wanted = slide.channel
        channels = usable_channels(opened.channels, wanted, RGB_NAMES)
        if channels is None:
            raise ImageReadError(
                f"slide {slide.name} has the channels {', '.join(opened.channels)}; say which one is cut (--channel). "
                f"Received: {wanted!r}"
            )
        return channels

    def with_white_levels(self, images: tuple[LabelledImage, ...]) -> tuple[LabelledImage, ...]:
        """Windows with the pixel value that is white, one for all that are deeper than 8 bits."""
        deep = common_white_level(self.facts.values())
        return tuple(
            replace(image, white_level=WHITE_LEVEL_8_BIT if self.facts[image.file_name].is_8_bit else deep)
            if image.file_name in self.facts
            else image
            for image in images
        )


def _channel_name(channels: Sequence[str]) -> str | None:
    """Name of the one channel; None for colours, and where it is only its place in a file that names none."""
    return channels[0] if len(channels) == 1 and channels[0] and not channels[0].isdigit() else None


def _boxes(cells: Sequence[CellBox]) -> np.ndarray:
    return np.array([cell.box_xyxy for cell in cells], np.float64).reshape(-1, 4)


def _size(size_wh: tuple[int, int] | None) -> str:
    return "unknown" if size_wh is None else f"{size_wh[0]} x {size_wh[1]}"
