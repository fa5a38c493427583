"""The imFISH route: nuclei in DAPI, judged by CD45 and CEP8 (paper imfish-cnn-2022, "Detection Standard of CTCs").

The levels of the slide are measured in the first pass; every nucleus is measured by the one tile that holds its first
pixel, there as if the whole slide were in memory; the verdicts are given last. So no cut of the work changes a bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ctc_mm.counting.damaged_cells import (
    look_until_known,
    losses_of,
    use_as_known,
    without_lost,
)
from ctc_mm.counting.imfish_cells import CLASSES, CTC_CLASS, card_thresholds, counted_cell, definition_of
from ctc_mm.counting.imfish_settings import ImFISHRouteSettings
from ctc_mm.counting.nucleus_scores import NucleusScorer
from ctc_mm.counting.overview import OverviewPass
from ctc_mm.counting.prefetch import prefetch
from ctc_mm.counting.records import SlideCount, SlideSpec, in_order
from ctc_mm.counting.route import FirstPass, JsonDict, SlidePlan, TileResult, TileTask
from ctc_mm.counting.slides import OpenSlides, um_per_px_source
from ctc_mm.counting.work_pixels import WorkPixels
from ctc_mm.errors import ImageReadError, SlideError
from ctc_mm.imaging.field import Field
from ctc_mm.imfish.first_pass import FIRST_PASS_TILE_PX, TYPICAL_NUCLEUS_UM, measure_thresholds, tiles_of
from ctc_mm.imfish.measure import Measurement, margin_px
from ctc_mm.imfish.picture import CHANNEL_COLOURS
from ctc_mm.imfish.settings import ImFISHSettings
from ctc_mm.imfish.thresholds import ImFISHThresholds
from ctc_mm.imfish.tiles import TileReader
from ctc_mm.imfish.verdict import give_verdicts

# Sides in pixels between which nuclei are found; beyond them the pixel size is in another unit.
SMALLEST_NUCLEUS_PX, LARGEST_NUCLEUS_PX = 3.0, 1000.0


class ImFISHRoute:
    """Counts nuclei that are DAPI+, CD45- and have three CEP8 signals or more.

    Args:
        settings: see ``ImFISHRouteSettings.from_dict``.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    name = "imfish"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = ImFISHRouteSettings.from_dict(settings)
        self._slides = OpenSlides()
        self._scorer = NucleusScorer(self.settings) if self.settings.model else None

    def identity(self) -> JsonDict:
        """What decides the result beside the slide."""
        model = self._scorer.describe() if self._scorer is not None else None
        return {"route": self.name, "rule": self.settings.rule.to_dict(), "model": model}

    def plan(self, spec: SlideSpec) -> SlidePlan:
        """Open the slide, find its channels, and cut it; a slide is one tile where nuclei are not found by tiles.

        Raises:
            ImageReadError: it cannot be read.
            SlideError: a channel is missing, the network was trained at another pixel size, or nuclei cannot have the
                size in pixels that the slide's pixel size gives them.
        """
        channels = channels_of(self.settings.rule)
        with self._slides.use(spec) as field:
            spec = _with_channels(spec, field, channels)
        with self._slides.use(spec) as field:
            _check_nuclei_px(spec, field, self.settings.rule)
            if self._scorer is not None:
                self._scorer.check(spec, field)
            tile_px = self.settings.tile_px if self.settings.rule.method == "robust" else max(field.size_wh)
            details = {
                "um_per_px_source": um_per_px_source(spec, field),
                "notes": list(field.notes),
            }
            n_tiles = len(tiles_of(field.size_wh, tile_px))
            return SlidePlan(spec, field.size_wh, n_tiles, tile_px, details)

    def first_pass(self, plan: SlidePlan) -> FirstPass:
        """Measure the levels of the channels and draw the overview; each tile of each channel is read once."""
        with self._slides.use(plan.spec) as field:
            thresholds, overview = look_until_known(field, lambda: self._look_over(field))
            levels = {"thresholds": thresholds.to_dict(), "losses": losses_of(field), "brightest": overview.brightest}
        colours = {name: CHANNEL_COLOURS[name] for name in channels_of(self.settings.rule)}
        return FirstPass(json.loads(json.dumps(levels)), overview.fluorescence(colours))

    def _look_over(self, field: Field) -> tuple[ImFISHThresholds, OverviewPass]:
        channels = channels_of(self.settings.rule)
        overview = OverviewPass(field.size_wh, channels)
        seen: set[str] = set()

        def see(channel: str, pixels: np.ndarray, region: tuple[int, int, int, int]) -> None:
            seen.add(channel)
            overview.add(channel, pixels, region[:2])

        rule, threads = self.settings.rule, self.settings.threads
        thresholds = measure_thresholds(field, rule, field.um_per_px, threads, seen=see)
        # Nuclei that are not found by tiles need no levels of their channel.
        for channel in (name for name in channels if name not in seen):
            for region in tiles_of(field.size_wh, FIRST_PASS_TILE_PX):
                overview.add(channel, field.read([channel], region)[0], region[:2])
        return thresholds, overview

    def measure(self, tasks: Iterable[TileTask]) -> Iterator[TileResult]:
        """Measure the nuclei of tiles; the next tiles are worked on meanwhile."""
        measured = (result for _, result in prefetch(self._measure_tile, tasks, self.settings.threads))
        if self._scorer is None:
            yield from (result for result, _ in measured)
            return
        yield from self._scorer.add_scores(measured)

    def _measure_tile(self, task: TileTask) -> tuple[TileResult, list[np.ndarray]]:
        """Nuclei of a tile as rows, and their images where a network wants them."""
        plan, levels = task.plan, task.first.levels
        thresholds = ImFISHThresholds.from_dict(levels["thresholds"])
        images: list[np.ndarray] = []
        try:
            with use_as_known(self._slides, plan.spec, levels["losses"]) as field:
                region = tiles_of(plan.size_wh, plan.tile_px)[task.tile]
                found = TileReader(field, thresholds, outlines=True).measure_tile(region)
                if self._scorer is not None:
                    images = self._scorer.cut(field, [one.box_xyxy for one in found], levels["brightest"])
        except ImageReadError as error:
            return TileResult(plan.spec.name, task.tile, {}, str(error)), []
        return TileResult(plan.spec.name, task.tile, {"nuclei": [one.to_row() for one in found]}), images

    def finish(self, plan: SlidePlan, first: FirstPass, results: Sequence[TileResult]) -> SlideCount:
        """Give the verdicts, once all nuclei of the slide are known."""
        found = [(Measurement.from_row(row), score) for result in results for row, score in _rows(result.payload)]
        thresholds = ImFISHThresholds.from_dict(first.levels["thresholds"])
        losses, pixels = first.levels["losses"], WorkPixels(plan.size_wh, plan.size_wh)
        found, left_out = without_lost(found, lambda pair: pair[0].box_xyxy, losses, margin_px(thresholds))
        found.sort(key=lambda pair: pair[0].first_yx)
        records, thresholds = give_verdicts([one for one, _ in found], thresholds)
        scorer = self._scorer
        cells = [
            counted_cell(record, one, score, scorer.threshold if scorer else None, scorer is not None)
            for record, (one, score) in zip(records, found, strict=True)
        ]
        source = thresholds.um_per_px_source
        return SlideCount(
            spec=plan.spec,
            size_wh=plan.size_wh,
            um_per_px=thresholds.um_per_px,
            um_per_px_source=plan.details["um_per_px_source"] if source == "image" else source,
            channels=channels_of(self.settings.rule),
            route=self.name,
            definition=definition_of(thresholds),
            target=CTC_CLASS,
            classes=CLASSES,
            cells=in_order(cells),
            thresholds=card_thresholds(thresholds) | (scorer.thresholds() if scorer else {}),
            settings=self.settings.rule.to_dict(),
            model=scorer.describe() if scorer else None,
            area=pixels.area(losses),
            drops=(*pixels.drops(losses), *left_out),
            overview=first.overview,
            notes=(*plan.details["notes"], *_notes(thresholds)),
        )


def channels_of(rule: ImFISHSettings) -> tuple[str, ...]:
    """Channels that a rule needs."""
    return ("dapi", "cep8", "cd45") if rule.mode == "full" else ("dapi", "cep8")


def _rows(payload: JsonDict) -> Iterator[tuple[list[Any], float | None]]:
    rows = payload["nuclei"]
    yield from zip(rows, payload.get("scores", [None] * len(rows)), strict=True)


def _with_channels(spec: SlideSpec, field: Field, needed: Sequence[str]) -> SlideSpec:
    """The slide with our names for its channels; upper and lower case are alike in a file's own names.

    Raises:
        SlideError: a channel is missing.
    """
    theirs = {name.casefold(): name for name in field.channels}
    missing = [name for name in needed if name not in theirs]
    if missing:
        cure = "; without CD45 only mode 'paper' (signals alone) is possible" if missing == ["cd45"] else ""
        raise SlideError(
            f"{spec.name}: no channel {', '.join(missing)} among {', '.join(field.channels)}; name the channels, such "
            f"as --channels dapi=0,cep8=1,cd45=2, or in column channels of the table of slides{cure}"
        )
    if all(name in field.channels for name in needed):
        return spec
    source = spec.source
    if "" in source.paths:
        known = source.channels or {name: name for name in field.channels}
        return replace(spec, source=replace(source, channels={name: known[theirs[name]] for name in needed}))
    paths = {name: source.paths[theirs[name]] for name in needed}
    chosen = source.channels and {name: source.channels[theirs[name]] for name in needed}
    return replace(spec, source=replace(source, paths=paths, channels=chosen))


def _notes(thresholds: ImFISHThresholds) -> tuple[str, ...]:
    if thresholds.um_per_px_source == "nuclei":
        return (
            f"the pixel size ({thresholds.um_per_px:.3g} um) was measured from the slide's nuclei, their median taken "
            f"as {TYPICAL_NUCLEUS_UM:g} um; diameters in um are left out. Give --um-per-px",
        )
    if thresholds.um_per_px_source == "assumed":
        return (f"the pixel size was assumed ({thresholds.um_per_px:g} um): too few nuclei. Give --um-per-px",)
    return ()


def _check_nuclei_px(spec: SlideSpec, field: Field, rule: ImFISHSettings) -> None:
    if field.um_per_px is None:
        return
    smallest, largest = (side / field.um_per_px for side in (rule.min_diameter_um, rule.max_diameter_um))
    if smallest < SMALLEST_NUCLEUS_PX or largest > LARGEST_NUCLEUS_PX:
        raise SlideError(
            f"slide {spec.name} of {field.um_per_px:g} um per px: nuclei of {rule.min_diameter_um:g} to "
            f"{rule.max_diameter_um:g} um would be {smallest:.3g} to {largest:.3g} px wide, and are found from "
            f"{SMALLEST_NUCLEUS_PX:g} to {LARGEST_NUCLEUS_PX:g}; give the true pixel size in um (--um-per-px, or "
            "column um_per_px of the table of slides)"
        )
