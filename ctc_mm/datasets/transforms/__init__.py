"""Transforms of ctc_mm, one file each."""

from ctc_mm.datasets.transforms.load_microscopy_image import LoadMicroscopyImage

__all__ = ["LoadMicroscopyImage"]
