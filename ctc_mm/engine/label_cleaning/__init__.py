"""Labels looked over by trained models: cells that nobody marked, and boxes that cannot be right."""

from ctc_mm.engine.label_cleaning.run import CleaningOptions, CleaningReport, clean_labels

__all__ = ["CleaningOptions", "CleaningReport", "clean_labels"]
