"""Classifiers beyond MMPretrain's own."""

from ctc_mm.models.classifiers.cross_modal_distiller import CrossModalDistiller
from ctc_mm.models.classifiers.twin_data_preprocessor import TwinDataPreprocessor

__all__ = ["CrossModalDistiller", "TwinDataPreprocessor"]
