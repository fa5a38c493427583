"""transforms of ctc_mm."""
