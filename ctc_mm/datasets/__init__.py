"""Data sets: importing this package registers them and their transforms."""

from ctc_mm.datasets import samplers, transforms
from ctc_mm.datasets.augment_to_n import AugmentToN
from ctc_mm.datasets.ctc_det_dataset import CTCDetDataset
from ctc_mm.datasets.imfish_field_dataset import ImFISHFieldDataset
from ctc_mm.datasets.single_cell_dataset import SingleCellDataset

__all__ = ["AugmentToN", "CTCDetDataset", "ImFISHFieldDataset", "SingleCellDataset", "samplers", "transforms"]
