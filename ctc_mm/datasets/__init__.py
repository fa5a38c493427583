"""datasets of ctc_mm."""
