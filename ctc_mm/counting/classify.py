"""The route that finds cells by their looks, cuts them, and asks a classifier of each whether it is a CTC.

Segmentation as in label-free-resnet-2020 (image pre-processing; reading 22), crops as the model's training set was cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ctc_mm.counting.cell_finder import CellFinder, FoundCell, read_image
from ctc_mm.counting.classified_cells import SlideCells, finish_cells
from ctc_mm.counting.classify_channels import choose_channels
from ctc_mm.counting.classify_settings import ClassifySettings
from ctc_mm.counting.crop_rule import CropRule
from ctc_mm.counting.crop_scores import score_in_batches
from ctc_mm.counting.damaged_cells import look_until_known, losses_of, use_as_known
from ctc_mm.counting.engines.build import build_classifier_engine
from ctc_mm.counting.overview import colour_notes
from ctc_mm.counting.prefetch import prefetch
from ctc_mm.counting.records import SlideCount, SlideSpec
from ctc_mm.counting.route import FirstPass, JsonDict, SlidePlan, TileResult, TileTask
from ctc_mm.counting.slide_look import look_over
from ctc_mm.counting.slides import OpenSlides, check_pixel_size, require_pixel_size, um_per_px_source
from ctc_mm.counting.windows import TileGrid, pack_windows, region_of, unpack_windows
from ctc_mm.errors import ConfigError, ImageReadError, SlideError
from ctc_mm.imaging.field import RegionXYXY

NO_THRESHOLD = "no threshold came with the weights: cells count as the target from a probability of 0.5 on"


class _Tile(NamedTuple):
    """A tile whose cells are found and not yet judged."""

    result: TileResult
    images: list[np.ndarray]


class ClassifyRoute:
    """Counts cells that a classifier calls CTCs.

    Args:
        settings: see ``ClassifySettings`` and ``EngineSettings``, side by side.

    Raises:
        ConfigError: a setting that cannot be used, and the errors of ``build_classifier_engine``.
    """

    name = "classify"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = ClassifySettings.from_dict(settings)
        self.engine = build_classifier_engine({**settings, "threads": None})
        self.info = self.engine.info
        self.crops = CropRule.of(self.settings, self.info)
        self.threshold, self._threshold_note = self._choose_threshold()
        self._slides = OpenSlides()

    def identity(self) -> JsonDict:
        """What decides the result beside the slide."""
        return {"route": self.name, "settings": self.settings.identity(), "model": self.engine.model()}

    def plan(self, spec: SlideSpec) -> SlidePlan:
        """Open the slide, check that it fits the model, and cut it.

        Raises:
            ImageReadError: it cannot be read.
            SlideError: a channel is missing; its pixel size is unknown, another than the model's, or so large that
                cells are too small to be found.
        """
        with self._slides.use(spec) as field:
            channels, places, bright_field = choose_channels(spec, field, self.info)
            require_pixel_size(spec, field, "the size of cells in um")
            scale = check_pixel_size(spec, field, self.info.um_per_px, self.settings.resample)
            target = None if scale == 1 else self.info.um_per_px
            details = {
                "channels": list(channels),
                "find_in": list(places),
                "bright_field": bright_field,
                "slide_um_per_px": field.um_per_px,
                "um_per_px_source": um_per_px_source(spec, field),
                "target_um_per_px": target,
                "slide_channels": list(field.channels),
            }
            size_wh = field.size_wh
        with self._slides.use(spec, target) as field:
            details |= {"um_per_px": field.um_per_px, "work_wh": list(field.size_wh), "notes": list(field.notes)}
        plan = SlidePlan(spec, size_wh, 1, self.settings.tile_px, details)
        try:
            return replace(plan, n_tiles=self._tiles(plan).n_tiles)
        except ValueError as error:
            raise SlideError(
                f"slide {spec.name} of {details['um_per_px']:g} um per px: {error}; check --um-per-px, or look for "
                "other cells (min_cell_um, --max-cell-um)"
            ) from error

    def first_pass(self, plan: SlidePlan) -> FirstPass:
        """Measure levels and white of the slide, see where it is empty, draw the overview."""
        details, threads = plan.details, self.settings.threads
        finder, channels = self._finder(plan), tuple(details["channels"])
        find_in = tuple(channels[place] for place in details["find_in"])
        with self._slides.use(plan.spec, details["target_um_per_px"]) as field:
            given, of_model = self.settings.white_level, self.info.white_level
            look = look_until_known(field, lambda: look_over(field, channels, of_model, given, threads))
            levels = finder.measure_levels(field, find_in, threads)
            losses = losses_of(field)
        windows = finder.grid(tuple(details["work_wh"])).windows_xyxy()
        shown = look.contrast.holds_something(windows)
        empty = ~shown if self.settings.skip_background else np.zeros_like(shown)
        levels |= {
            "losses": losses,
            "white_level": look.white_level,
            "white_level_source": look.white_level_source,
            "empty_windows": pack_windows(empty),
            "noise": list(look.contrast.noise),
        }
        return FirstPass(json.loads(json.dumps(levels)), look.overview)

    def measure(self, tasks: Iterable[TileTask]) -> Iterator[TileResult]:
        """Find, cut and judge the cells of tiles; the next tiles are worked on while the model judges."""
        tiles = (tile for _, tile in prefetch(self._find, tasks, self.settings.threads))
        for result, found in score_in_batches(tiles, self.engine):
            if result.error is None:
                scores = [[float(value) for value in row] for row in found]
                result = TileResult(result.slide, result.tile, {**result.payload, "scores": scores})
            yield result

    def finish(self, plan: SlidePlan, first: FirstPass, results: Sequence[TileResult]) -> SlideCount:
        """Merge the cells of all windows, judge them side by side, and call them."""
        details = plan.details
        finder = self._finder(plan)
        slide = SlideCells(
            size_wh=plan.size_wh,
            work_wh=tuple(details["work_wh"]),
            um_per_px=details["um_per_px"],
            grid=finder.grid(tuple(details["work_wh"])),
            margin_px=finder.halo_px / 2,
        )
        done = finish_cells(
            slide, first.levels, [one.payload for one in results], self.info, self.settings, self.threshold
        )
        levels = first.levels
        return SlideCount(
            spec=plan.spec,
            size_wh=plan.size_wh,
            um_per_px=details["slide_um_per_px"],
            um_per_px_source=details["um_per_px_source"],
            channels=tuple(details["slide_channels"]),
            route=self.name,
            definition=self._definition(finder),
            target=self.info.target,
            classes=done.classes,
            cells=done.cells,
            thresholds={
                **done.thresholds,
                "rule": self.settings.rule,
                "white_level": levels["white_level"],
                "white_level_source": levels["white_level_source"],
            },
            settings=self.settings.identity() | {"crop": self.crops.to_dict()},
            model=self.engine.model(),
            area=done.area,
            drops=done.drops,
            removals=done.removals,
            overview=first.overview,
            notes=(
                *details["notes"],
                *colour_notes(details["channels"], self.info.channel, first.overview),
                *self.crops.notes,
                *self._threshold_note,
            ),
        )

    def _find(self, task: TileTask) -> _Tile:
        """Cells of a tile as rows, and their images as the model wants them."""
        plan, levels, details = task.plan, task.first.levels, task.plan.details
        rows: list[Any] = []
        images: list[np.ndarray] = []
        try:
            with use_as_known(self._slides, plan.spec, levels["losses"], details["target_um_per_px"]) as field:
                grid = self._tiles(plan)
                windows = grid.windows_of(task.tile)
                windows = windows[~unpack_windows(levels["empty_windows"], grid.windows.n_windows)[windows]]
                if len(windows):
                    region = region_of(grid.windows.windows_xyxy()[windows], field.size_wh)
                    block = read_image(field, tuple(details["channels"]), region)
                    for window in windows.tolist():
                        found, cut = self._find_in_window(task, block, region, window)
                        rows += [one.to_row() for one in found]
                        images += cut
        except ImageReadError as error:
            return _Tile(TileResult(plan.spec.name, task.tile, {}, str(error)), [])
        return _Tile(TileResult(plan.spec.name, task.tile, {"cells": rows}), images)

    def _find_in_window(
        self, task: TileTask, block: np.ndarray, region: RegionXYXY, window: int
    ) -> tuple[list[FoundCell], list[np.ndarray]]:
        finder, details, levels = self._finder(task.plan), task.plan.details, task.first.levels
        grid = finder.grid(tuple(details["work_wh"]))
        x0, y0, x1, y1 = region_of(grid.windows_xyxy()[[window]], grid.size_wh)
        image = block[y0 - region[1] : y1 - region[1], x0 - region[0] : x1 - region[0]]
        places = details["find_in"]
        # Aligned in memory as any other part: a view's rows would be worked on in other steps.
        seen = np.ascontiguousarray(
            image if image.ndim == 2 or len(places) == image.shape[2] else image[..., places[0]]
        )
        found, labels = finder.cells_of_window(seen, levels, grid, window)
        white = self.crops.white_level(image.dtype, levels["white_level"])
        um_per_px = details["um_per_px"]
        return found, [
            self.engine.prepare(self.crops.cut(image, labels, one.cell, (x0, y0), um_per_px), white) for one in found
        ]

    def _finder(self, plan: SlidePlan) -> CellFinder:
        um_per_px = plan.details["um_per_px"]
        crop_px = self.crops.most_px(um_per_px, self.settings.max_cell_um / um_per_px)
        return CellFinder(plan.details["bright_field"], um_per_px, self.settings.diameter_um, crop_px)

    def _tiles(self, plan: SlidePlan) -> TileGrid:
        return TileGrid(self._finder(plan).grid(tuple(plan.details["work_wh"])), plan.tile_px)

    def _choose_threshold(self) -> tuple[float, tuple[str, ...]]:
        """The threshold by the rule that was asked for, and a note where there is none."""
        found = self.info.thresholds.get(self.settings.rule)
        if found is not None:
            return float(found), ()
        if self.info.thresholds:
            raise ConfigError(
                f"{self.info.name}: validation chose no threshold by the rule {self.settings.rule!r}; it has "
                f"{', '.join(self.info.thresholds)} (--rule)"
            )
        return 0.5, (NO_THRESHOLD,)

    def _definition(self, finder: CellFinder) -> str:
        low, high = self.settings.diameter_um
        what = "cell outlined in bright field" if finder.bright_field else "nucleus"
        return (
            f"{what}, {low:g} to {high:g} um across, single, whole and in focus, to which the classifier "
            f"{self.info.name} gives a probability of {self.info.target} of {self.threshold:.4g} or more before "
            f"calibration (rule {self.settings.rule})."
        )
