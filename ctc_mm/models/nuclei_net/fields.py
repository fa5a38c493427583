"""Fields that the nucleus network learns from: real ones with their truth, and synthetic ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.errors import AnnotationError
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.nuclei_net_levels import measure_net_levels

# Folders below the root of the shared images.
SOURCES = ("nuclei_bbbc039", "nuclei_dsb2018")
IMAGE_SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class TrainingField:
    """One field and what the network is to say of it.

    Attributes:
        name: file name without suffix.
        source: where the field comes from.
        image: the field as read, (H, W); None for a synthetic one.
        background: its grey value of the background; 0 for a synthetic one.
        heights: float32 (H, W), grey values above the background in units of the contrast.
        labels: uint16 (H, W), true nuclei.
        depth: float32 (H, W), see ``depth_map``.
        diameter_px: median diameter of the nuclei, 20 where there is none.
    """

    name: str
    source: str
    image: np.ndarray | None
    background: float
    heights: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    diameter_px: float


def read_fields(root: str | Path, source: str) -> list[TrainingField]:
    """Read the fields below ``root/source``: ``images/*`` with uint16 instance labels of the same name in ``labels/``.

    Raises:
        FileNotFoundError: no image there.
        AnnotationError: an image without labels, or labels of another size.
    """
    folder = Path(root) / source
    paths = sorted(path for path in (folder / "images").glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder / 'images'} holds no image; give --data the folder that holds {source}")
    return [_read_field(path, source) for path in paths]


def _read_field(path: Path, source: str) -> TrainingField:
    image = read_image(path)
    if image.ndim == 3:  # grey in three channels
        image = image[..., :3].max(axis=2)
    label_path = path.parents[1] / "labels" / f"{path.stem}.png"
    labels = cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.shape != image.shape:
        found = "none" if labels is None else labels.shape
        raise AnnotationError(f"{label_path}: labels of shape {image.shape} are needed. Received: {found}")
    levels = measure_net_levels(image)
    heights = (image.astype(np.float64) - levels.background) / (levels.contrast or 1.0)
    return make_field(path.stem, source, heights, labels, image, levels.background)


def make_field(
    name: str,
    source: str,
    heights: np.ndarray,
    labels: np.ndarray,
    image: np.ndarray | None = None,
    background: float = 0.0,
) -> TrainingField:
    """Add to an image and its true nuclei what follows from them."""
    labels = labels.astype(np.uint16)
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    diameter_px = float(np.sqrt(np.median(areas) * 4 / np.pi)) if areas.size else 20.0
    heights = heights.astype(np.float32)
    return TrainingField(name, source, image, background, heights, labels, depth_map(labels), diameter_px)


def depth_map(labels: np.ndarray) -> np.ndarray:
    """How deep inside its object each pixel lies: near 0 on the outline, 1 at the object's deepest place.

    The border of the image is no outline: an object cut by it may be deepest there.

    Args:
        labels: (H, W) uint16, 0 background.

    Returns:
        float32 (H, W), 0 on the background.
    """
    around = np.pad(labels, 1, mode="edge")
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    inner = (labels > 0) & np.logical_and.reduce([side == labels for side in neighbours])
    distance = np.where(labels > 0, 0.5, 0.0).astype(np.float32)
    if not inner.all():  # with no outline in sight, every place is as deep as any other
        distance += cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 5)
    deepest = np.zeros(int(labels.max()) + 1 if labels.size else 1, np.float32)
    np.maximum.at(deepest, labels, distance)
    return distance / np.maximum(deepest, 0.5)[labels]
