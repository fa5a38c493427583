"""A detector without a network: bright blobs are cells, large ones CTCs; and slides on which the truth is known."""

import cv2
import numpy as np

from ctc_mm.counting.detect import DetectRoute
from ctc_mm.counting.engines.base import DETECTOR, Described, ModelInfo, WindowDetections
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.route import TileTask
from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.imaging.normalize import scale_to_255

WINDOW = (96, 80)
CTC_PX, WBC_PX = 13, 7
BACKGROUND, BRIGHT = 90, 230


def blob_info(**changes):
    facts = {
        "kind": DETECTOR, "name": "blobs", "classes": ("CTC", "WBC"), "target": "CTC",
        "thresholds": {"CTC": 0.5, "WBC": 0.5}, "um_per_px": 1.0, "channel": "brightfield", "white_level": 255.0,
        "window_wh": WINDOW, "hashes": {"checkpoint": "0"},
    }  # fmt: skip
    return ModelInfo(**(facts | changes))


class BlobEngine(Described):
    """Connected bright pixels; the score is their brightness, so that it tells if grey values were changed."""

    def __init__(self, batch_size=4, **changes):
        self.info, self.batch_size = blob_info(**changes), batch_size
        self.engine, self.device, self.batches = "blobs", "cpu", []

    def prepare(self, image, white_level=None):
        assert image.shape[1::-1] == tuple(self.info.window_wh)
        scaled = scale_to_255(image, white_level)
        return np.moveaxis(scaled, -1, 0) if scaled.ndim == 3 else np.repeat(scaled[None], 3, axis=0)

    def __call__(self, batch):
        assert 1 <= len(batch) <= self.batch_size
        self.batches.append(len(batch))
        return [self._find(window.mean(axis=0)) for window in batch]

    def _find(self, grey):
        count, _, stats, _ = cv2.connectedComponentsWithStats((grey > 160).astype(np.uint8))
        rows = [stats[one] for one in range(1, count) if stats[one][4] > 8]
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
        scores = [grey[y : y + h, x : x + w].max() / 255 for x, y, w, h, _ in rows]
        labels = [0 if max(w, h) >= 10 else 1 for _, _, w, h, _ in rows]
        return WindowDetections(boxes, np.array(scores, np.float32), np.array(labels, np.int64))


def blob_slide(size_wh=(520, 400), seed=0, noise=2.0, empty_from_x=None):
    """A grey image with blobs that do not touch, and their boxes and labels."""
    rng = np.random.default_rng(seed)
    image = np.full(size_wh[::-1], BACKGROUND, np.uint8)
    truth = []
    for y in range(12, size_wh[1] - 12, 23):
        for x in range(12, size_wh[0] - 12, 23):
            if rng.uniform() < 0.5 or (empty_from_x is not None and x > empty_from_x):
                continue
            side = int(rng.choice([CTC_PX, WBC_PX]))
            cx, cy = x + int(rng.integers(-3, 4)), y + int(rng.integers(-3, 4))
            cv2.circle(image, (cx, cy), side // 2, BRIGHT, -1)
            reach = side // 2
            truth.append(((cx - reach, cy - reach, cx + reach + 1, cy + reach + 1), int(side == WBC_PX)))
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8), truth


def file_spec(path, name="slide", **values):
    return SlideSpec(name, FieldSource(name, path.name, {"": path}), **values)


def blob_route(engine=None, **settings):
    return DetectRoute({"max_cell_px": 16, "overlap_px": 20, **settings}, engine or BlobEngine())


def tasks_of(route, *specs):
    for spec in specs:
        plan = route.plan(spec)
        first = route.first_pass(plan)
        yield from (TileTask(plan, first, tile) for tile in range(plan.n_tiles))


def count(route, spec):
    plan = route.plan(spec)
    first = route.first_pass(plan)
    results = list(route.measure(TileTask(plan, first, tile) for tile in range(plan.n_tiles)))
    return route.finish(plan, first, results)


def table(slide_count):
    """Everything about the cells of a count."""
    return [
        (one.box_xyxy, one.class_name, one.score, one.diameter_um, one.flags, dict(one.columns))
        for one in slide_count.cells
    ]
