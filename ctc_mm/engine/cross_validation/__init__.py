"""Cross-validation of any config of the project: ``cross_validate`` and its options."""

from ctc_mm.engine.cross_validation.options import CrossValidationOptions
from ctc_mm.engine.cross_validation.run import CrossValidationResult, FoldsFailedError, cross_validate

__all__ = ["CrossValidationOptions", "CrossValidationResult", "FoldsFailedError", "cross_validate"]
