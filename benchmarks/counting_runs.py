"""The runs that ``counting.py`` times, each from the file on disk to the finished count (or the model alone)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ctc_mm.counting.detect import DetectRoute
from ctc_mm.counting.detect_plan import SlideFit
from ctc_mm.counting.detect_stream import prepare_window
from ctc_mm.counting.imfish import ImFISHRoute
from ctc_mm.counting.records import SlideCount, SlideSpec
from ctc_mm.counting.route import Route, TileTask
from ctc_mm.counting.windows import cut_window
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imaging.io import open_field
from ctc_mm.imfish import classify_nuclei
from ctc_mm.phantoms import BrightfieldPhantomConfig, write_imfish_slide
from ctc_mm.phantoms.brightfield_slide import write_brightfield_slide

# Cells and debris on a megapixel of synthetic blood.
CTCS_PER_MP, WBCS_PER_MP, DEBRIS_PER_MP = 5, 40, 60
DEFAULT_UM_PER_PX = 0.5


def count_slide(route: Route, spec: SlideSpec) -> SlideCount:
    """All of a route on one slide."""
    plan = route.plan(spec)
    first = route.first_pass(plan)
    results = list(route.measure(TileTask(plan, first, tile) for tile in range(plan.n_tiles)))
    return route.finish(plan, first, results)


def spec_of(path: Path) -> SlideSpec:
    """A slide in one file."""
    return SlideSpec("slide", FieldSource("slide", path.name, {"": path}))


class DetectorRuns:
    """One detector on one synthetic bright-field slide, in four ways.

    Args:
        settings: of the route, those of the model among them.
        side_px: of the slide.
        seed: of the slide.
        folder: for the slide.

    Attributes:
        batches: every window of the slide, prepared: float32 (N, 3, H, W).
        found: counts by class of each way's last run.
        device: that the model runs on.
    """

    def __init__(self, settings: Mapping[str, Any], side_px: int, seed: int, folder: Path) -> None:
        self.found: dict[str, dict[str, int]] = {}
        self.device = torch.device(settings.get("device", "cpu"))
        self._route = DetectRoute(settings)
        engine = self._route.engine
        # The same engine: a second one would push it out of the processor's cache.
        self._every_window = DetectRoute({**settings, "skip_background": False}, engine)
        megapixels = side_px**2 / 1e6
        self._path = folder / "slide.ome.tif"
        write_brightfield_slide(
            self._path,
            (side_px, side_px),
            ctcs=round(CTCS_PER_MP * megapixels),
            wbcs=round(WBCS_PER_MP * megapixels),
            debris=round(DEBRIS_PER_MP * megapixels),
            config=BrightfieldPhantomConfig(um_per_px=engine.info.um_per_px or DEFAULT_UM_PER_PX),
            seed=seed,
        )
        self._spec = spec_of(self._path)
        plan = self._route.plan(self._spec)
        self._fit, self._level = SlideFit.from_json(plan.details), self._route.first_pass(plan).levels["white_level"]
        self.batches = self._all_batches()

    def _all_batches(self) -> list[np.ndarray]:
        engine, grid = self._route.engine, self._fit.grid
        with open_field(self._path) as field:
            plane = field.read(self._fit.channels)[0]
        windows = [cut_window(plane, (0, 0, *grid.size_wh), window) for window in grid.windows_xyxy()]
        prepared = [prepare_window(engine, window, self._level) for window in windows]
        size = engine.batch_size
        return [np.stack(prepared[place : place + size]) for place in range(0, len(prepared), size)]

    def model_alone(self) -> None:
        """The engine on batches that lie ready in memory."""
        self.found["model alone"] = {
            "detections": sum(len(one.scores) for b in self.batches for one in self._engine(b))
        }

    def _engine(self, batch: np.ndarray) -> list:
        return self._route.engine(batch)

    def ours(self) -> None:
        """The route, empty windows left out."""
        self.found["ours"] = count_slide(self._route, self._spec).counts

    def ours_on_every_window(self) -> None:
        """The route on every window: the model does what it does alone."""
        self.found["ours, every window"] = count_slide(self._every_window, self._spec).counts

    def sahi(self) -> None:
        """SAHI's sliced prediction: the same engine, windows and batches, suppression over all slices at the end."""
        from counting_sahi import EngineModel
        from sahi.predict import get_sliced_prediction

        with open_field(self._path) as field:
            plane = field.read(self._fit.channels)[0]
        grid, info = self._fit.grid, self._route.engine.info
        width, height = grid.window_wh
        result = get_sliced_prediction(
            np.repeat(plane[..., None], 3, axis=2),
            EngineModel(self._route.engine, self._level),
            slice_width=width,
            slice_height=height,
            overlap_width_ratio=grid.overlap_px / width,
            overlap_height_ratio=grid.overlap_px / height,
            perform_standard_pred=False,
            postprocess_type="NMS",
            postprocess_match_metric="IOU",
            batch_size=self._route.engine.batch_size,
            verbose=0,
        )
        names = [one.category.name for one in result.object_prediction_list]
        self.found["SAHI"] = {name: names.count(name) for name in info.classes}

    def describe(self) -> str:
        """What is compared."""
        (width, height), overlap = self._fit.grid.window_wh, self._fit.overlap_px
        windows = self._fit.grid.n_windows
        found = "; ".join(f"{name}: {counts}" for name, counts in self.found.items())
        engine = self._route.engine
        return (
            f"{engine.info.name} on {engine.engine}: {windows} windows of {width} x {height} px, "
            f"overlap {overlap} px, batches of {engine.batch_size}\nfound: {found}"
        )


class ImFISHRuns:
    """The imFISH rule on one synthetic slide, as a route and as functions on arrays; ``found``: CTCs of each."""

    def __init__(self, side_px: int, seed: int, threads: int, folder: Path) -> None:
        self._path = folder / "slide.ome.tif"
        write_imfish_slide(self._path, (side_px, side_px), seed=seed)
        self._route = ImFISHRoute({"threads": threads})
        with open_field(self._path) as field:
            self._planes, self._um_per_px = dict(zip(field.channels, field.read(), strict=True)), field.um_per_px
        self.found: dict[str, int] = {}

    def array_functions(self) -> None:
        """``classify_nuclei`` on arrays in memory."""
        planes = (self._planes[name] for name in ("dapi", "cep8", "cd45"))
        records = classify_nuclei(*planes, um_per_px=self._um_per_px)
        self.found["array functions"] = sum(record.is_ctc for record in records)

    def ours(self) -> None:
        """The route, from the file on disk."""
        count = count_slide(self._route, spec_of(self._path))
        self.found["ours"] = count.counts[count.target]

    def describe(self) -> str:
        """What was found."""
        return "CTCs: " + ", ".join(f"{name} {count}" for name, count in self.found.items())
