"""explain of ctc_mm."""
