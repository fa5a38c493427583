"""formats of ctc_mm."""
