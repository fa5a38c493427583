"""The paper's augmentation: shift, shrink, flip and mirror an image with its cells."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import autocast_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks

from ctc_mm.registry import TRANSFORMS


@dataclass(frozen=True)
class _Move:
    """Where the picture goes in whole pixels: mirrored, flipped, resized to ``new_wh``, corner at ``corner_xy``."""

    mirror: bool
    flip: bool
    old_wh: tuple[int, int]
    new_wh: tuple[int, int]
    corner_xy: tuple[int, int]

    @property
    def scale_xy(self) -> tuple[float, float]:
        return self.new_wh[0] / self.old_wh[0], self.new_wh[1] / self.old_wh[1]

    @property
    def matrix(self) -> np.ndarray:
        """Homography (3, 3) float32 from old to new pixels."""
        (scale_x, scale_y), (corner_x, corner_y) = self.scale_xy, self.corner_xy
        x = (-scale_x, corner_x + self.new_wh[0]) if self.mirror else (scale_x, corner_x)
        y = (-scale_y, corner_y + self.new_wh[1]) if self.flip else (scale_y, corner_y)
        return np.array([[x[0], 0, x[1]], [0, y[0], y[1]], [0, 0, 1]], np.float32)


@TRANSFORMS.register_module()
class ShiftScaleFlip(BaseTransform):
    """Shift, shrink, flip (top to bottom) and mirror (left to right), each by chance; the image keeps its size.

    Paper ssd-attention-fusion-2022, section 2.5: "translating 40/60 pixels on the x/y axis, scaling to 50%-70%,
    flipping and mirroring horizontally" (reading 11). The shrunken picture stays in the middle before the shift. The
    empty rest takes the image's median, which in bright field is background.

    A cell left less than ``min_visible`` inside is no truth any more; what still shows of it becomes an ignore region,
    neither cell nor background. Both kinds are counted.

    Required Keys:

    - img
    - gt_bboxes (BaseBoxes[torch.float32]) (optional)
    - gt_bboxes_labels (np.int64) (with gt_bboxes)
    - gt_ignore_flags (bool) (optional)
    - gt_masks (BitmapMasks | PolygonMasks) (optional)
    - um_per_px (float) (optional)

    Modified Keys:

    - img
    - gt_bboxes
    - gt_bboxes_labels
    - gt_masks
    - um_per_px (grows as the picture shrinks)
    - homography_matrix

    Added Keys:

    - gt_ignore_flags (bool) (with gt_bboxes)
    - dropped_cells (int): cells of this image dropped so far, by all transforms that count them here

    Args:
        shift_px: shift in x and y, each in either direction.
        scale_range: smallest and largest size of the shrunken picture, as a fraction.
        shift_prob: chance of a shift.
        scale_prob: chance of shrinking.
        flip_prob: chance of a flip.
        mirror_prob: chance of mirroring.
        min_visible: smallest part of a cell's box that must stay inside, as a fraction of its area.

    Raises:
        ValueError: a parameter outside its range; or (on use) a segmentation map, which it does not move.
    """

    def __init__(
        self,
        shift_px: tuple[int, int] = (40, 60),
        scale_range: tuple[float, float] = (0.5, 0.7),
        shift_prob: float = 0.5,
        scale_prob: float = 0.5,
        flip_prob: float = 0.5,
        mirror_prob: float = 0.5,
        min_visible: float = 0.5,
    ) -> None:
        if len(shift_px) != 2 or any(int(px) != px or px < 0 for px in shift_px):
            raise ValueError(f"shift_px must be two whole numbers of at least 0 (x, y), received {shift_px!r}")
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1] <= 1:
            raise ValueError(f"scale_range must be two rising numbers above 0 and at most 1, received {scale_range!r}")
        fractions = dict(
            shift_prob=shift_prob,
            scale_prob=scale_prob,
            flip_prob=flip_prob,
            mirror_prob=mirror_prob,
            min_visible=min_visible,
        )
        for name, value in fractions.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, received {value!r}")
        self.shift_px = tuple(int(px) for px in shift_px)
        self.scale_range = tuple(scale_range)
        self.shift_prob, self.scale_prob = shift_prob, scale_prob
        self.flip_prob, self.mirror_prob = flip_prob, mirror_prob
        self.min_visible = min_visible

    @cache_randomness
    def _draw_move(self, width: int, height: int) -> _Move:
        scale = random.uniform(*self.scale_range) if random.random() < self.scale_prob else 1.0
        new_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        shift_x = shift_y = 0
        if random.random() < self.shift_prob:
            shift_x, shift_y = (px * random.choice((-1, 1)) for px in self.shift_px)
        return _Move(
            mirror=random.random() < self.mirror_prob,
            flip=random.random() < self.flip_prob,
            old_wh=(width, height),
            new_wh=new_wh,
            corner_xy=((width - new_wh[0]) // 2 + shift_x, (height - new_wh[1]) // 2 + shift_y),
        )

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Move the image of ``results`` and what is marked in it."""
        if "gt_seg_map" in results:
            raise ValueError("ShiftScaleFlip does not move results['gt_seg_map']; leave the map out of the pipeline")
        height, width = results["img"].shape[:2]
        move = self._draw_move(width, height)
        results["img"] = _move_picture(results["img"], move)
        if results.get("gt_bboxes") is not None:
            self._move_cells(results, move, (height, width))
        if results.get("um_per_px") is not None:
            results["um_per_px"] = results["um_per_px"] / math.sqrt(move.scale_xy[0] * move.scale_xy[1])
        earlier = results.get("homography_matrix")
        results["homography_matrix"] = move.matrix if earlier is None else move.matrix @ earlier
        return results

    def _move_cells(self, results: dict, move: _Move, shape_hw: tuple[int, int]) -> None:
        boxes = results["gt_bboxes"].clone()
        for direction, wanted in (("horizontal", move.mirror), ("vertical", move.flip)):
            if wanted:
                boxes.flip_(shape_hw, direction)
        boxes.rescale_(move.scale_xy)
        boxes.translate_(move.corner_xy)
        whole_areas = boxes.areas.numpy()
        boxes.clip_(shape_hw)
        areas = boxes.areas.numpy()

        ignored = results.get("gt_ignore_flags")
        ignored = np.zeros(len(boxes), bool) if ignored is None else np.asarray(ignored, bool)
        dropped = ~ignored & ((areas < self.min_visible * whole_areas) | (areas == 0))
        results["dropped_cells"] = results.get("dropped_cells", 0) + int(dropped.sum())
        shown = np.flatnonzero(areas > 0)
        results["gt_bboxes"] = boxes[shown]
        results["gt_bboxes_labels"] = results["gt_bboxes_labels"][shown]
        results["gt_ignore_flags"] = (ignored | dropped)[shown]
        if results.get("gt_masks") is not None:
            results["gt_masks"] = _move_masks(results["gt_masks"], move)[shown]

    def __repr__(self) -> str:
        names = ("shift_px", "scale_range", "shift_prob", "scale_prob", "flip_prob", "mirror_prob", "min_visible")
        return f"{self.__class__.__name__}({', '.join(f'{name}={getattr(self, name)}' for name in names)})"


def _move_picture(image: np.ndarray, move: _Move) -> np.ndarray:
    """The image after ``move``, same shape and dtype, the rest filled with the median of each channel."""
    # Every fourth pixel is enough for a background level, and sixteen times as fast.
    fill = np.median(image[::4, ::4], axis=(0, 1)).astype(image.dtype)
    # Area averaging keeps fine texture from turning into moire.
    return _place(image, move, np.broadcast_to(fill, image.shape).copy(), cv2.INTER_AREA)


def _move_masks(masks: BitmapMasks | PolygonMasks, move: _Move) -> BitmapMasks | PolygonMasks:
    width, height = move.old_wh
    if isinstance(masks, BitmapMasks):
        empty = np.zeros((height, width), masks.masks.dtype)
        moved = [_place(mask, move, empty.copy(), cv2.INTER_NEAREST) for mask in masks.masks]
        return BitmapMasks(np.stack(moved) if moved else masks.masks, height, width)
    for direction, wanted in (("horizontal", move.mirror), ("vertical", move.flip)):
        if wanted:
            masks = masks.flip(direction)
    masks = masks.resize(move.new_wh[::-1])
    for direction, offset in zip(("horizontal", "vertical"), move.corner_xy, strict=True):
        masks = masks.translate((height, width), offset, direction)
    return masks


def _place(picture: np.ndarray, move: _Move, canvas: np.ndarray, interpolation: int) -> np.ndarray:
    """Mirror, flip and resize ``picture`` and put it on ``canvas`` (changed in place and returned)."""
    picture = picture[:: -1 if move.flip else 1, :: -1 if move.mirror else 1]
    if move.new_wh != move.old_wh:
        resized = cv2.resize(np.ascontiguousarray(picture), move.new_wh, interpolation=interpolation)
        picture = resized.reshape(*resized.shape[:2], *picture.shape[2:])  # OpenCV drops a single channel's axis
    (x, y), (new_width, new_height), (width, height) = move.corner_xy, move.new_wh, move.old_wh
    left, right = max(x, 0), max(min(x + new_width, width), 0)
    top, bottom = max(y, 0), max(min(y + new_height, height), 0)
    if left < right and top < bottom:
        canvas[top:bottom, left:right] = picture[top - y : bottom - y, left - x : right - x]
    return canvas
