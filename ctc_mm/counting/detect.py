"""The route that finds cells with a detector, window by window.

The model sees windows as large as its training images, on a grid from the slide's origin; each cell belongs to the
window in whose core its centre lies (``windows.py``, ``merge.py``). So neither tiles nor batches nor processes change
the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ctc_mm.counting.damaged_cells import look_until_known, losses_of, use_as_known
from ctc_mm.counting.detect_cells import count_of, merge_rules
from ctc_mm.counting.detect_plan import SlideFit, fit_slide
from ctc_mm.counting.detect_settings import DetectSettings, engine_settings
from ctc_mm.counting.detect_stream import TileWindows, WindowStream
from ctc_mm.counting.engines import build_detector_engine
from ctc_mm.counting.engines.base import DetectorEngine
from ctc_mm.counting.records import Overview, SlideCount, SlideSpec
from ctc_mm.counting.route import FirstPass, JsonDict, SlidePlan, TileResult, TileTask
from ctc_mm.counting.slide_look import look_over
from ctc_mm.counting.slides import OpenSlides
from ctc_mm.counting.windows import pack_windows, region_of, touching, unpack_windows
from ctc_mm.errors import ImageReadError, SlideError


class DetectRoute:
    """Counts the cells that a detector finds.

    Args:
        settings: see ``DetectSettings`` and ``EngineSettings``; JSON values.
        engine: a detector that is loaded already, in the place of the one that the settings name.

    Raises:
        ConfigError: settings that cannot be used, or no detector.
        CheckpointError: weights that cannot be read.
    """

    name = "detect"

    def __init__(self, settings: Mapping[str, Any], engine: DetectorEngine | None = None) -> None:
        self.settings = DetectSettings.from_dict(settings)
        self.engine = build_detector_engine(engine_settings(settings)) if engine is None else engine
        self._slides = OpenSlides()

    def identity(self) -> JsonDict:
        """What decides the result beside the slide."""
        return {"route": self.name, "settings": self.settings.identity(), "model": self.engine.model()}

    def plan(self, spec: SlideSpec) -> SlidePlan:
        """Open the slide, check that it fits the model, and cut it.

        Raises:
            ImageReadError: it cannot be read.
            SlideError: its channels or pixel size do not fit, or the largest allowed cell exceeds the overlap.
        """
        with self._slides.use(spec) as field:
            fit = fit_slide(spec, field, self.engine.info, self.settings)
            size_wh = field.size_wh
        # Opened again at the model's pixel size, since its rounding decides the grid.
        with self._slides.use(spec, fit.target_um_per_px) as field:
            fit = fit.for_field(field.size_wh, field.notes)
        tiles = fit.tiles(self.settings.tile_px)
        sides = np.array(tiles.windows_per_tile_wh) * fit.grid.stride_wh / fit.scale
        return SlidePlan(spec, size_wh, tiles.n_tiles, max(1, round(float(sides.max()))), fit.to_json())

    def first_pass(self, plan: SlidePlan) -> FirstPass:
        """Read the slide once for its white level, its empty windows and an overview.

        Raises:
            SlideError: no white level is known, or most of the slide is above it.
        """
        fit = SlideFit.from_json(plan.details)
        levels_known = (self.engine.info.white_level, self.settings.white_level)
        with self._slides.use(plan.spec, fit.target_um_per_px) as field:
            look = look_until_known(
                field, lambda: look_over(field, fit.channels, *levels_known, threads=self.settings.threads)
            )
            losses = losses_of(field)
        shown = look.contrast.holds_something(fit.grid.windows_xyxy())
        empty = ~shown if self.settings.skip_background else np.zeros_like(shown)
        levels = {
            "white_level": look.white_level,
            "white_level_source": look.white_level_source,
            "noise": list(look.contrast.noise),
            "empty_windows": pack_windows(empty),
            "losses": losses,
        }
        return FirstPass(levels, Overview(look.overview.rgb, look.overview.scale * fit.scale))

    def measure(self, tasks: Iterable[TileTask]) -> Iterator[TileResult]:
        """Look at the windows of tiles; reading, preparation and model run at the same time."""
        least = merge_rules(self.engine.info, self.settings.doubt).least_scores()
        yield from WindowStream(self.engine, self._read, least, self.settings.threads).run(tasks)

    def _read(self, task: TileTask) -> TileWindows:
        """Read the part of a tile that its windows show; empty and damaged windows are left out."""
        fit, levels = SlideFit.from_json(task.plan.details), task.first.levels
        losses = levels["losses"]
        windows = fit.tiles(self.settings.tile_px).windows_of(task.tile)
        windows = windows[~unpack_windows(levels["empty_windows"], fit.grid.n_windows)[windows]]
        boxes = fit.grid.windows_xyxy()[windows]
        whole = ~touching(boxes, losses["damaged_xyxy"])
        windows = windows[whole]
        tile = TileWindows(task, windows, boxes[whole], white_level=levels["white_level"])
        if len(windows):
            tile.region_xyxy = region_of(tile.windows_xyxy, fit.grid.size_wh)
            try:
                with use_as_known(self._slides, task.plan.spec, losses, fit.target_um_per_px) as field:
                    planes = field.read(fit.channels, tile.region_xyxy)
            except (ImageReadError, SlideError) as error:
                tile.error = str(error)
            else:
                tile.pixels = np.ascontiguousarray(np.moveaxis(planes, 0, -1)) if len(planes) > 1 else planes[0]
        return tile

    def finish(self, plan: SlidePlan, first: FirstPass, results: Sequence[TileResult]) -> SlideCount:
        """Merge what the windows hold into the cells of the slide."""
        return count_of(plan, first, results, self.settings, self.engine.model(), self.engine.info)
