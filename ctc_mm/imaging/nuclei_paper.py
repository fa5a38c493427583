"""Nuclei as printed in the paper imfish-cnn-2022 (Image Preprocessing), with the values of reading 16."""

from __future__ import annotations

import cv2
import numpy as np

BLUR_PX = 9
CLOSING_WH = (21, 7)
ITERATIONS = 4


def segment_paper(image: np.ndarray) -> np.ndarray:
    """Find nuclei by their horizontal gradient and fill the minimum-area rectangle of each contour.

    Grey, Gaussian, Scharr x minus y, Gaussian and blur 9x9, Otsu, closing 21x7, erosion x4, dilation x4, contours,
    minimum-area rectangles. The recipe loses the poles of round nuclei; it is kept to repeat the paper.

    Args:
        image: DAPI channel (H, W), uint8, uint16 or float.

    Returns:
        int32 (H, W): rectangles 1..N in the order of their first pixel; where two overlap, the first keeps the pixels.
    """
    mask = _gradient_mask(image)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    labels = np.zeros(image.shape, np.int32)
    # Largest number drawn last would win; so the order is reversed, and the first rectangle keeps its pixels.
    rectangles = [cv2.boxPoints(cv2.minAreaRect(contour)) for contour in contours]
    for number, corners in reversed(list(enumerate(rectangles, start=1))):
        cv2.fillConvexPoly(labels, np.rint(corners).astype(np.int32), number)
    return number_by_first_pixel(labels)


def _gradient_mask(image: np.ndarray) -> np.ndarray:
    grey = cv2.GaussianBlur(image.astype(np.float32), (3, 3), 0)
    gradient = np.abs(cv2.Scharr(grey, cv2.CV_32F, 1, 0)) - np.abs(cv2.Scharr(grey, cv2.CV_32F, 0, 1))
    gradient = np.maximum(gradient, 0)
    top = float(gradient.max())
    if top <= 0:
        return np.zeros(image.shape, np.uint8)
    # 16-bit steps for Otsu: the shape of the histogram matters, not the camera's depth.
    smooth = cv2.blur(cv2.GaussianBlur(gradient, (BLUR_PX, BLUR_PX), 0), (BLUR_PX, BLUR_PX))
    scaled = np.rint(smooth * (65535 / max(float(smooth.max()), 1e-30))).astype(np.uint16)
    _, mask = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = mask.astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_RECT, CLOSING_WH))
    mask = cv2.erode(mask, None, iterations=ITERATIONS)
    return cv2.dilate(mask, None, iterations=ITERATIONS)


def number_by_first_pixel(labels: np.ndarray) -> np.ndarray:
    """Give labels the numbers 1..N in the order of their first pixel, row by row; int32 (H, W)."""
    ids, first = np.unique(labels, return_index=True)
    order = ids[np.argsort(first)]
    order = order[order > 0]
    numbers = np.zeros(int(labels.max()) + 1, np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[labels]
