"""Loading of 8-bit, 16-bit and float images onto one scale."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import read_image
from ctc_mm.imaging.normalize import guess_white_level, scale_to_255
from ctc_mm.registry import TRANSFORMS

# A few spots may be brighter than white; half of a field is not.
MOST_ABOVE_WHITE = 0.5


@TRANSFORMS.register_module()
class LoadMicroscopyImage(BaseTransform):
    """Load a grey or colour image of any depth as three float32 channels (B, G, R) in 0-255.

    Unlike ``mmcv.LoadImageFromFile`` it keeps 12- and 16-bit data (``color_type='color'`` cuts 12 bits to 0..15,
    ``'unchanged'`` gives uint16, which the data preprocessor refuses). EXIF orientation is applied, as in Labelme. An
    array in ``results['img']`` takes the place of a file: then the channel order is BGR already, as in MMDetection's
    ``LoadImageFromNDArray``. ``mmdet.apis.inference_detector`` swaps the first transform for that one when it is given
    arrays; hand it ``test_pipeline=Compose([...])`` with this transform to have arrays scaled as files are.

    Required Keys:

    - img_path (str), or img (np.ndarray: (H, W), (H, W, 1) or (H, W, 3) BGR; uint8, uint16 or float)
    - white_level (float) (optional)
    - width, height (int) (optional): as the label file says, px, upright

    Modified Keys:

    - img (np.float32, (H, W, 3), BGR, 0-255; grey is replicated)
    - white_level (float)

    Added Keys:

    - img_shape (tuple: H, W)
    - ori_shape (tuple: H, W)

    Args:
        white_level: the pixel value that becomes 255 (brighter ones become 255 too; an error if most are). ``'auto'``
            takes ``results['white_level']`` (the data set passes the COCO image's key) where there is one; else 255 for
            uint8, for uint16 the smallest of 1023, 4095, 16383, 65535 that holds the image's maximum, 1 for float
            images within [0, 1]. State it for a 12-bit camera: the guess depends on each image's content.

    Raises:
        ValueError: ``white_level`` is neither ``'auto'`` nor a positive number.
        ImageReadError: (on use) the file cannot be read, is of another size than its labels say, or its pixels do not
            fit ``white_level``.
    """

    def __init__(self, white_level: float | Literal["auto"] = "auto") -> None:
        is_number = isinstance(white_level, int | float) and not isinstance(white_level, bool)
        if not (white_level == "auto" or (is_number and np.isfinite(white_level) and white_level > 0)):
            raise ValueError(f"white_level must be 'auto' or a number above 0, received {white_level!r}")
        self.white_level = white_level

    def transform(self, results: dict) -> dict:
        """Load the image of ``results`` and describe it there."""
        if results.get("img") is not None:
            name, image_bgr = "results['img']", _as_bgr(np.asarray(results["img"]))
        elif results.get("img_path") is not None:
            name = results["img_path"]
            image = read_image(name)
            image_bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
        else:
            raise ValueError("LoadMicroscopyImage needs results['img_path'] or results['img'], both are missing")
        _require_same_size(name, results, image_bgr)
        try:
            white_level = self._choose_white_level(results, image_bgr)
            require_not_washed_out(image_bgr, white_level)
            scaled = scale_to_255(image_bgr, white_level)
        except (ValueError, TypeError) as error:
            raise ImageReadError(f"{name}: {error}") from error
        if scaled.ndim == 2:
            scaled = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR)
        results["img"] = scaled
        results["img_shape"] = results["ori_shape"] = scaled.shape[:2]
        results["white_level"] = white_level
        return results

    def _choose_white_level(self, results: dict, image: np.ndarray) -> float:
        if self.white_level != "auto":
            return float(self.white_level)
        known = results.get("white_level")
        return guess_white_level(image) if known is None else float(known)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(white_level={self.white_level!r})"


def _require_same_size(name: str, results: dict, image: np.ndarray) -> None:
    """Refuse an image of another size than its labels were written for: every box would lie elsewhere."""
    written_wh, found_wh = (results.get("width"), results.get("height")), image.shape[1::-1]
    if None not in written_wh and written_wh != found_wh:
        raise ImageReadError(
            f"{name}: {found_wh[0]} x {found_wh[1]} px, but the label file says {written_wh[0]} x {written_wh[1]} px; "
            "convert the labels again, or restore the image that was labelled"
        )


def require_not_washed_out(image: np.ndarray, white_level: float) -> None:
    """Refuse an image of another depth than ``white_level``: all white, it would pass for a field without cells.

    Raises:
        ValueError: most pixels are above ``white_level``.
    """
    above = np.count_nonzero(image > white_level) / image.size
    if above > MOST_ABOVE_WHITE:
        raise ValueError(
            f"{above:.0%} of its pixels are above the white level {white_level:g} ({image.dtype}, up to "
            f"{image.max():g}), so it is of another depth than the images that this level was found on; convert the "
            "set again, or give --white-level (transform: white_level)"
        )


def _as_bgr(image: np.ndarray) -> np.ndarray:
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or image.size == 0:
        raise ImageReadError(f"results['img'] must be (H, W), (H, W, 1) or (H, W, 3) BGR, received shape {image.shape}")
    return np.ascontiguousarray(image)
