"""Data sets: importing this package registers them and their transforms."""

from ctc_mm.datasets import transforms
from ctc_mm.datasets.ctc_det_dataset import CTCDetDataset
from ctc_mm.datasets.imfish_field_dataset import ImFISHFieldDataset

__all__ = ["CTCDetDataset", "ImFISHFieldDataset", "transforms"]
