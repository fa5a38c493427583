"""engine of ctc_mm."""
