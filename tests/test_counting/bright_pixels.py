"""A small route of its own: every bright pixel is a cell. Real reading, real files, and faults on demand."""

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.counting.records import UNIDENTIFIED, AnalysedArea, CountedCell, Overview, SlideCount, in_order
from ctc_mm.counting.route import FirstPass, SlidePlan, TileResult
from ctc_mm.errors import SlideError

NAME = "bright_pixels:BrightPixels"
BACKGROUND, BRIGHT = 100, 250


def write_slide_image(path, cells_xy, size_wh=(90, 70)):
    """A grey field with bright pixels."""
    image = np.full((size_wh[1], size_wh[0]), BACKGROUND, np.uint8)
    for x, y in cells_xy:
        image[y, x] = BRIGHT
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


class BrightPixels:
    """Settings: ``tile_px``, ``above`` (decides), and faults: ``log``, ``sleep_s``, ``raise_on``, ``kill_once``,
    ``kill_on``, ``interrupt_after``."""

    name = "detect"

    def __init__(self, settings):
        self.settings = {"tile_px": 32, "above": 120, **settings}
        self._log("build")
        self._measured = 0

    def identity(self):
        return {"above": self.settings["above"]}

    def plan(self, spec):
        with spec.source.open(spec.um_per_px) as field:
            size_wh = field.size_wh
        if size_wh[0] < 2:
            raise SlideError(f"slide {spec.name}: is {size_wh[0]} px wide; scan it again")
        side = self.settings["tile_px"]
        return SlidePlan(spec, size_wh, -(-size_wh[0] // side) * -(-size_wh[1] // side), side, {})

    def first_pass(self, plan):
        self._log(f"first {plan.spec.name}")
        image = self._image(plan)
        rgb = np.repeat(image[..., None], 3, axis=2)
        return FirstPass({"background": float(np.median(image)) / 3}, Overview(rgb, 1.0))

    def measure(self, tasks):
        for task in tasks:
            self._fault(task)
            columns = -(-task.plan.size_wh[0] // task.plan.tile_px)
            x0, y0 = (place * task.plan.tile_px for place in (task.tile % columns, task.tile // columns))
            block = self._image(task.plan)[y0 : y0 + task.plan.tile_px, x0 : x0 + task.plan.tile_px]
            rows, cols = np.nonzero(block > self.settings["above"])
            found = [[int(x) + x0, int(y) + y0] for x, y in zip(cols, rows, strict=True)]
            yield TileResult(task.plan.spec.name, task.tile, {"xy": found, "level": task.first.levels["background"]})

    def finish(self, plan, first, results):
        assert [result.tile for result in results] == list(range(plan.n_tiles))
        cells = [
            CountedCell((x, y, x + 1, y + 1), "CTC", score=result.payload["level"] / 100)
            for result in results
            for x, y in result.payload["xy"]
        ]
        width, height = plan.size_wh
        return SlideCount(
            plan.spec, plan.size_wh, None, "unknown", ("grey",), "detect", "a bright pixel", "CTC",
            ("CTC", UNIDENTIFIED), in_order(cells), {"above": self.settings["above"], **first.levels},
            self.identity(), None, AnalysedArea(width * height), overview=first.overview,
        )  # fmt: skip

    def _image(self, plan):
        with plan.spec.source.open(plan.spec.um_per_px) as field:
            return field.read()[0]

    def _fault(self, task):
        name = task.plan.spec.name
        self._log(f"tile {name} {task.tile}")
        self._measured += 1
        if self.settings.get("interrupt_after") == self._measured:
            raise KeyboardInterrupt
        if name == self.settings.get("raise_on"):
            raise KeyError("poison")
        once = self.settings.get("kill_once")
        if once and name == once[0] and not Path(once[1]).exists():
            Path(once[1]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name == self.settings.get("kill_on"):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.settings.get("sleep_s", 0))

    def _log(self, line):
        if self.settings.get("log"):
            with Path(self.settings["log"]).open("a") as file:
                file.write(f"{os.getpid()} {line}\n")
