"""Grad-CAM pictures: the image under its heat map with boxes and scores, and a strip of all levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ctc_mm.explain.detection_cam import DetectionCAM
from ctc_mm.imaging.normalize import stretch_histogram

# Light and dark enough to stand out from the heat map and from grey cells; class 0 (the target) comes first.
CLASS_COLORS_RGB = ((255, 255, 255), (0, 0, 0), (255, 0, 255), (0, 255, 255), (255, 220, 0), (120, 255, 120))
TRUTH_COLOR_RGB = (0, 255, 0)
MIN_SIDE_PX = 640
PANEL_SIDE_PX = 300
FONT = cv2.FONT_HERSHEY_SIMPLEX


def to_display(image: np.ndarray) -> np.ndarray:
    """Make any grey or RGB image viewable; deeper ones are stretched from their minimum to their maximum.

    Args:
        image: (H, W) or (H, W, 3), uint8, uint16 or float32.

    Returns:
        uint8 (H, W, 3) RGB, a new array.
    """
    if image.dtype != np.uint8:
        image = np.rint(stretch_histogram(image)).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()


def blend_heat(image_rgb: np.ndarray, cam: np.ndarray, strength: float = 0.6, top: float | None = None) -> np.ndarray:
    """Lay a map over an image, red where it is highest; where the map is 0 the image stays as it is.

    Args:
        image_rgb: uint8 (H, W, 3).
        cam: float (H, W) in [0, 1]; stretched to its own maximum, since a weighted sum rarely reaches 1.
        strength: opacity of the hottest pixel.
        top: value shown as hottest, where the map is a part of a larger one; None: its own maximum.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    if top is None:
        top = float(cam.max()) if cam.size else 0.0
    heat = cam / top if top > 0 else cam
    colors = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    opacity = strength * np.clip(heat, 0, 1)[..., None]
    return np.rint(image_rgb * (1 - opacity) + colors * opacity).astype(np.uint8)


def draw_overlay(
    image: np.ndarray,
    result: DetectionCAM,
    class_names: Sequence[str],
    truth_xyxy: np.ndarray | None = None,
) -> np.ndarray:
    """The image under the fused map, kept boxes with class and score, ground truth thin and green where given.

    Explained boxes have solid lines; boxes that are kept but not explained are thin. Small images are enlarged.

    Args:
        image: (H, W) or (H, W, 3) RGB, uint8, uint16 or float32, of the size of the maps.
        result: what :func:`ctc_mm.explain.detection_cam.explain_detection` gave for it.
        class_names: name of each label.
        truth_xyxy: (M, 4) px.

    Returns:
        uint8 (H', W', 3) RGB.
    """
    scale = max(1, math.ceil(MIN_SIDE_PX / min(image.shape[:2])))
    canvas = blend_heat(resize_picture(to_display(image), scale), resize_picture(result.fused, scale))
    for box in [] if truth_xyxy is None else truth_xyxy:
        _rectangle(canvas, np.asarray(box) * scale, TRUTH_COLOR_RGB, 1)
    colors = [CLASS_COLORS_RGB[label % len(CLASS_COLORS_RGB)] for label in result.labels]
    boxes = result.boxes_xyxy * scale
    for box, color, explained in zip(boxes, colors, result.explained, strict=True):
        _rectangle(canvas, box, color, 2 if explained else 1)
    # All texts lie above all lines, and that of the best box on top.
    for index in reversed(range(len(boxes))):
        label = int(result.labels[index])
        name = class_names[label] if label < len(class_names) else f"class {label}"
        _text(canvas, f"{name} {result.scores[index]:.2f}", boxes[index, :2], colors[index])
    return canvas


def draw_levels(image: np.ndarray, result: DetectionCAM) -> np.ndarray:
    """A strip: the map of every level over the image, finest first, and their weighted sum at the end.

    Args:
        image: (H, W) or (H, W, 3) RGB, uint8, uint16 or float32, of the size of the maps.
        result: what :func:`ctc_mm.explain.detection_cam.explain_detection` gave for it.

    Returns:
        uint8 (H', W', 3) RGB; each panel has a short side of 300 px and is titled with level, weight and number of
        explained boxes.
    """
    scale = PANEL_SIDE_PX / min(image.shape[:2])
    display = resize_picture(to_display(image), scale)
    panels = []
    for cam, weight, level in zip(result.levels, result.weights, result.level_ids, strict=True):
        boxes = int((result.explained & (result.box_levels == level)).sum())
        title = f"level {level}  x{weight:g}  boxes {boxes}"
        panels.append(_panel(blend_heat(display, resize_picture(cam, scale)), title))
    panels.append(
        _panel(blend_heat(display, resize_picture(result.fused, scale)), f"fused, max {result.fused.max():.2f}")
    )
    gap = np.full((panels[0].shape[0], 6, 3), 255, dtype=np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def resize_picture(image: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge or shrink a picture or a map, each side at least 1 px."""
    width, height = (max(1, round(size * scale)) for size in (image.shape[1], image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA)


def _rectangle(canvas: np.ndarray, box_xyxy: np.ndarray, color: tuple[int, int, int], thickness: int) -> None:
    # Half-open boxes: the last pixel inside is one before x1, y1.
    x0, y0, x1, y1 = (int(value) for value in np.rint(box_xyxy))
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), color, thickness)


def _text(canvas: np.ndarray, text: str, corner_xy: np.ndarray, color: tuple[int, int, int]) -> None:
    """Text on a plate, above the corner, or below it at the upper edge, always inside the picture."""
    (width, height), baseline = cv2.getTextSize(text, FONT, 0.5, 1)
    plate_h = height + baseline + 2
    x = int(np.clip(corner_xy[0], 0, max(0, canvas.shape[1] - width - 4)))
    y = int(np.clip(corner_xy[1], 0, canvas.shape[0]))
    top = y - plate_h if y >= plate_h else min(y, canvas.shape[0] - plate_h)
    ink = (0, 0, 0) if sum(color) > 380 else (255, 255, 255)
    cv2.rectangle(canvas, (x, top), (x + width + 3, top + plate_h - 1), color, cv2.FILLED)
    cv2.putText(canvas, text, (x + 2, top + height + 1), FONT, 0.5, ink, 1, cv2.LINE_AA)


def _panel(picture: np.ndarray, title: str) -> np.ndarray:
    (width, _), _ = cv2.getTextSize(title, FONT, 0.5, 1)
    size = 0.5 * min(1.0, (picture.shape[1] - 8) / width)
    header = np.full((26, picture.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(header, title, (4, 18), FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([header, picture])
