"""Grad-CAM of the cells of a count: what in a cell raised its score; by PyTorch alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from ctc_mm.counting.records import SlideCount
from ctc_mm.counting.report.cell_cam import CellCAM
from ctc_mm.counting.report.doubt import doubts_of
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.routes import build_route
from ctc_mm.errors import ConfigError

# Each takes a forward and a backward pass or two.
MOST_EXPLAINED = 24
EXPLAINED_ROUTES = ("detect", "classify")
ROUTES_IN_WORDS = " and ".join(EXPLAINED_ROUTES)
Track = Callable[[Iterable[Any]], Iterable[Any]]


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
    # A copy: the hooks of an explanation must not see what another thread asks of the model meanwhile.
    model = copy.deepcopy(route.engine.trained.model)
    try:
        cams = explain(count, route, model, places, track)
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
