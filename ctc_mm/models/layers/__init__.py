"""layers of ctc_mm."""
