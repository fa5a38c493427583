"""How sharp cells are: fine edges over coarse ones, which fall as focus is lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ctc_mm.imaging.cell_levels import to_grey

# Smoothing of the two scales whose edges are compared, over the usual diameter of the field's cells.
_FINE, _COARSE = 1 / 16, 1 / 5


@dataclass(frozen=True)
class FocusScale:
    """What the sharpness of a field's cells is measured by, once for the field.

    Attributes:
        usual_px: usual diameter of its cells, which tells what is fine and what is coarse.
        noise: squared edge strength that the background has at the fine and at the coarse scale.
    """

    usual_px: float
    noise: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"usual_px": self.usual_px, "noise": list(self.noise)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FocusScale:
        """Take back what ``to_dict`` gave."""
        return cls(values["usual_px"], tuple(values["noise"]))


def measure_focus_scale(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> FocusScale | None:
    """Measure it on a field, or on parts of a large one.

    Args:
        parts: labels and image of each.

    Returns:
        None where there is no cell.
    """
    areas = np.concatenate([np.bincount(labels.ravel())[1:] for labels, _ in parts])
    if not areas.any():
        return None
    usual_px = 2 * math.sqrt(float(np.median(areas[areas > 0])) / math.pi)
    noises = []
    for labels, image in parts:
        energies = edge_energies(to_grey(image), usual_px)
        background = [energy[labels == 0] for energy in energies]
        noises.append([float(np.median(one)) / math.log(2) if one.size else 0.0 for one in background])
    fine, coarse = np.median(noises, axis=0)
    return FocusScale(usual_px, (float(fine), float(coarse)))


def edge_energies(grey: np.ndarray, diameter_px: float) -> list[np.ndarray]:
    """Squared edge strength at a fine and a coarse scale, float32 (H, W) each."""
    energies = []
    for part in (_FINE, _COARSE):
        sigma = max(1.0 if part == _FINE else 2.0, part * diameter_px)
        smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma)
        energies.append(sum(cv2.Sobel(smooth, cv2.CV_32F, dx, dy, scale=1 / 8) ** 2 for dx, dy in ((1, 0), (0, 1))))
    return energies


def sharpness_of(labels: np.ndarray, label: int, place: tuple[slice, slice], energies: list[np.ndarray]) -> float:
    """Ratio of fine to coarse edge strength on a cell and one pixel around; 0 where there are no coarse edges.

    Args:
        labels: label image.
        label: of the cell.
        place: rows and columns of its box.
        energies: of ``edge_energies``, the noise taken off.
    """
    rows, columns = (slice(max(0, part.start - 1), part.stop + 1) for part in place)
    mask = cv2.dilate((labels[rows, columns] == label).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    fine, coarse = (float(energy[rows, columns][mask].mean()) for energy in energies)
    return math.sqrt(max(fine, 0.0) / coarse) if coarse > 0 else 0.0
