"""Nuclei as printed in the paper imfish-cnn-2022 (Image Preprocessing), with the values of reading 16."""

from __future__ import annotations

import cv2
import numpy as np

BLUR_PX = 9
CLOSING_WH = (21, 7)
ITERATIONS = 4
# Gradients under this part of the brightest pixel are rounding.
LEAST_GRADIENT = 1e-4


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
    # "Regions with a high horizontal gradient and low vertical gradient were left".
    gradient = np.abs(cv2.Scharr(grey, cv2.CV_32F, 1, 0)) - np.abs(cv2.Scharr(grey, cv2.CV_32F, 0, 1))
    np.maximum(gradient, 0, out=gradient)
    smooth = cv2.blur(cv2.GaussianBlur(gradient, (BLUR_PX, BLUR_PX), 0), (BLUR_PX, BLUR_PX))
    top = float(smooth.max())
    # On a level image rounding alone leaves gradients.
    if top <= LEAST_GRADIENT * float(np.abs(grey).max()):
        return np.zeros(image.shape, np.uint8)
    # 16-bit steps for Otsu: the histogram's shape matters, not the camera's depth.
    scaled = np.rint(smooth * (65535 / top)).astype(np.uint16)
    mask = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1].astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_RECT, CLOSING_WH))
    return cv2.dilate(cv2.erode(mask, None, iterations=ITERATIONS), None, iterations=ITERATIONS)


def number_by_first_pixel(labels: np.ndarray) -> np.ndarray:
    """Give labels the numbers 1..N in the order of their first pixel, row by row; int32 (H, W)."""
    ids, first = np.unique(labels, return_index=True)
    order = ids[np.argsort(first)]
    order = order[order > 0]
    numbers = np.zeros(int(labels.max()) + 1, np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[labels]
