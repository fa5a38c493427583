"""Transforms of ctc_mm, one file each."""

from ctc_mm.datasets.transforms.cell_geometry import CellGeometry
from ctc_mm.datasets.transforms.cell_illumination import CellIllumination
from ctc_mm.datasets.transforms.cell_noise import CellNoise
from ctc_mm.datasets.transforms.gamma_transform import GammaTransform
from ctc_mm.datasets.transforms.histogram_stretch import HistogramStretch
from ctc_mm.datasets.transforms.label_cep8 import LabelCEP8
from ctc_mm.datasets.transforms.load_cell_image import LoadCellImage
from ctc_mm.datasets.transforms.load_field import LoadField
from ctc_mm.datasets.transforms.load_microscopy_image import LoadMicroscopyImage
from ctc_mm.datasets.transforms.shift_scale_flip import ShiftScaleFlip

__all__ = [
    "CellGeometry",
    "CellIllumination",
    "CellNoise",
    "GammaTransform",
    "HistogramStretch",
    "LabelCEP8",
    "LoadCellImage",
    "LoadField",
    "LoadMicroscopyImage",
    "ShiftScaleFlip",
]
