"""Data sets: importing this package registers them and their transforms."""

from ctc_mm.datasets import transforms
from ctc_mm.datasets.ctc_det_dataset import CTCDetDataset
from ctc_mm.datasets.imfish_field_dataset import ImFISHFieldDataset
from ctc_mm.datasets.single_cell_dataset import SingleCellDataset

__all__ = ["CTCDetDataset", "ImFISHFieldDataset", "SingleCellDataset", "transforms"]
