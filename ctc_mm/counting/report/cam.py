"""Grad-CAM of the cells of a count: what in a cell raised its score; by PyTorch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ctc_mm.counting.records import SlideCount
from ctc_mm.counting.report.doubt import doubts_of
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.errors import ConfigError

# Each takes a forward and a backward pass or two.
MOST_EXPLAINED = 24
# Between one image and a batch of them, and outlines and the masks they are of.
SCORE_TOLERANCE = 0.02
EXPLAINED_ROUTES = ("detect", "classify")
ROUTES_IN_WORDS = " and ".join(EXPLAINED_ROUTES)
Track = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class CellCAM:
    """What raised the score of one cell.

    Attributes:
        cam: float32 (h, w), 0 to 1; 1 is the strongest place of what the network saw.
        region_xyxy: what the map covers, in pixels of the slide.
    """

    cam: np.ndarray
    region_xyxy: tuple[float, float, float, float]


def explain_count(
    count: SlideCount, spec: RouteSpec, most: int = MOST_EXPLAINED, track: Track = iter
) -> tuple[dict[int, CellCAM], str]:
    """Explain the most doubtful cells of a count, and the best of the target.

    The network sees again what it saw during the count; a cell whose score does not come out again is left out.

    Args:
        count: the result.
        spec: the route that made it; its model is built, or taken from this process where it is built already.
        most: number of cells, half of them doubtful, half of them best.
        track: wraps the loop, for a progress bar.

    Returns:
        Place in ``count.cells`` to map, and what to say of the maps, or of why there are none.
    """
    if spec.name not in EXPLAINED_ROUTES:
        return {}, "" if count.model is None else f"No Grad-CAM: it explains the networks of routes {ROUTES_IN_WORDS}."
    places = choose_explained(count, most)
    if not places:
        return {}, ""
    route = build_route(spec)
    if not hasattr(route.engine, "trained"):
        return {}, (
            "No Grad-CAM: the model ran as an exported graph, which has no gradients; a count with --config and "
            "--checkpoint has it."
        )
    if spec.name == "detect":
        from ctc_mm.counting.report.cam_detect import explain_windows as explain
    else:
        from ctc_mm.counting.report.cam_classify import explain_crops as explain
    try:
        cams = explain(count, route, places, track)
    except ConfigError as error:
        return {}, f"No Grad-CAM: {error}"
    missing = len(places) - len(cams)
    left_out = f" Of {missing} more the score did not come out again, so no map is shown." if missing else ""
    return cams, (
        f"Grad-CAM of {len(cams)} cells, the best {count.target} and those nearest to the threshold: red is where the "
        f"picture raised the score most.{left_out}"
    )


def choose_explained(count: SlideCount, most: int) -> list[int]:
    """Places of the best cells of the target and of the most doubtful of all, without repeats, in order."""
    scored = [place for place, cell in enumerate(count.cells) if cell.score is not None]
    doubts = doubts_of(count)
    doubtful = sorted((place for place in scored if doubts[place] is not None), key=lambda place: doubts[place])
    target = (place for place in scored if count.cells[place].class_name == count.target)
    best = sorted(target, key=lambda place: (-count.cells[place].score, place))[: most - most // 2]
    rest = [place for place in doubtful if place not in best]
    return sorted([*best, *rest[: most - len(best)]])


def heat_pictures(grounds: np.ndarray, windows_xyxy: np.ndarray, cams: Sequence[CellCAM]) -> np.ndarray:
    """Lay maps over thumbnails.

    Args:
        grounds: uint8 (N, S, S, 3) RGB.
        windows_xyxy: (N, 4) px of the slide that each shows.
        cams: one each.

    Returns:
        uint8 (N, S, S, 3) RGB; red is the strongest place of all that the network saw, so a cell that did not matter
        stays grey.
    """
    from ctc_mm.explain.draw import blend_heat  # brings torch along

    pictures = np.empty_like(grounds)
    for place, one in enumerate(cams):
        fitted = _shown_part(one, windows_xyxy[place], grounds.shape[1])
        pictures[place] = blend_heat(grounds[place], fitted, top=float(one.cam.max()))
    return pictures


def _shown_part(one: CellCAM, window_xyxy: Sequence[float], side: int) -> np.ndarray:
    """The part of a map that a thumbnail shows, float32 (side, side); 0 beyond it."""
    height, width = one.cam.shape
    left, top, right, bottom = one.region_xyxy
    per_px = (window_xyxy[2] - window_xyxy[0]) / side
    scale_x, scale_y = width / (right - left), height / (bottom - top)
    # Middles of pixels onto middles of pixels.
    to_map = np.array(
        [
            [per_px * scale_x, 0, (window_xyxy[0] - left + per_px / 2) * scale_x - 0.5],
            [0, per_px * scale_y, (window_xyxy[1] - top + per_px / 2) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.asarray(one.cam, np.float32), to_map, (side, side), flags=flags)


def share_of_top(cam: np.ndarray) -> np.ndarray:
    """A map as a share of its strongest place, float32; one that is 0 everywhere stays so."""
    top = float(cam.max()) if cam.size else 0.0
    return (cam / top if top > 0 else cam).astype(np.float32)


def same_score(one: float, other: float) -> bool:
    """Whether the network said the same again; arithmetic may differ a little with the size of a batch."""
    return abs(one - other) <= SCORE_TOLERANCE
