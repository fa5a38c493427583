"""What a person changed: corrected cells beside those that were counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from ctc_mm.counting.exchange.corrected import CorrectedCell
from ctc_mm.evaluation.functional.boxes import pairwise_iou
from ctc_mm.formats.labels import normalise_label
from ctc_mm.formats.report import ConversionReport

# Two boxes are of one cell from this overlap on, where no id says so.
SAME_CELL_IOU = 0.5
# QuPath rounds coordinates to 1/100 px; below this overlap a person has moved or redrawn the cell.
SAME_PLACE_IOU = 0.98
ADDED, REMOVED, MOVED = "cell added by hand: {}", "cell removed by hand: {}", "cell moved or redrawn by hand"
RELABELLED, KEPT = "class changed by hand: {} to {}", "cell left as it was counted"


def note_changes(
    counted: Sequence[CorrectedCell], corrected: Sequence[CorrectedCell], report: ConversionReport
) -> None:
    """Note each cell that was added, removed, moved or given another class, and how many were left as they were.

    Cells are matched by their ids; those without a partner by their boxes (IoU of at least 0.5, best first), since some
    programs number everything anew.
    """
    pairs = match_cells(counted, corrected)
    partners = dict(pairs)
    for place, cell in enumerate(counted):
        if place not in partners:
            report.note(REMOVED.format(cell.label or "no class"), cell.place)
    taken = set(partners.values())
    for place, cell in enumerate(corrected):
        if place not in taken:
            report.note(ADDED.format(cell.label or "no class"), cell.place)
    for before, after in ((counted[one], corrected[other]) for one, other in pairs):
        changed = normalise_label(before.label) != normalise_label(after.label)
        if changed:
            report.note(RELABELLED.format(before.label or "no class", after.label or "no class"), after.place)
        moved = _iou(before, after) < SAME_PLACE_IOU
        if moved:
            report.note(MOVED, after.place)
        if not (changed or moved):
            report.note(KEPT, after.place)


def match_cells(counted: Sequence[CorrectedCell], corrected: Sequence[CorrectedCell]) -> list[tuple[int, int]]:
    """Pairs of places in both lists, in the order of the first."""
    by_id = {cell.identity: place for place, cell in enumerate(corrected) if cell.identity is not None}
    pairs = {place: by_id[cell.identity] for place, cell in enumerate(counted) if cell.identity in by_id}
    taken = set(pairs.values())
    rest = [place for place in range(len(counted)) if place not in pairs]
    others = [place for place in range(len(corrected)) if place not in taken]
    pairs |= _match_boxes(counted, rest, corrected, others)
    return sorted(pairs.items())


def _match_boxes(
    counted: Sequence[CorrectedCell], rest: Sequence[int], corrected: Sequence[CorrectedCell], others: Sequence[int]
) -> dict[int, int]:
    if not rest or not others:
        return {}
    boxes, other_boxes = _boxes(counted, rest), _boxes(corrected, others)
    tree = cKDTree((other_boxes[:, :2] + other_boxes[:, 2:]) / 2)
    # Boxes with half their union in common have middles nearer than the longer side of the smaller one.
    reach = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    near = tree.query_ball_point((boxes[:, :2] + boxes[:, 2:]) / 2, reach * np.sqrt(2), return_sorted=True)
    candidates = []
    for place, (box, found) in enumerate(zip(boxes, near, strict=True)):
        if found:
            overlaps = pairwise_iou(box[None], other_boxes[found])[0]
            candidates += [(-iou, rest[place], others[one]) for iou, one in zip(overlaps.tolist(), found, strict=True)]
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for negative_iou, one, other in sorted(candidates):
        if -negative_iou >= SAME_CELL_IOU and one not in pairs and other not in used:
            pairs[one] = other
            used.add(other)
    return pairs


def _boxes(cells: Sequence[CorrectedCell], places: Sequence[int]) -> np.ndarray:
    return np.array([cells[place].box_xyxy for place in places], np.float64).reshape(-1, 4)


def _iou(one: CorrectedCell, other: CorrectedCell) -> float:
    return float(pairwise_iou(_boxes([one], [0]), _boxes([other], [0]))[0, 0])
